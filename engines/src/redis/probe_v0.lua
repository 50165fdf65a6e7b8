-- Does what a count does. The rights for this layout have no command that removes a key, so it stays for a millisecond.
-- KEYS: the key. ARGV: the time to live of records in seconds (0: for ever). Returns 1.
local read = redis.pcall('GET', KEYS[1])
if type(read) == 'table' then return read end
local stored
if ARGV[1] ~= '0' then
  stored = redis.pcall('SETEX', KEYS[1], 1, '')
  if stored.err then return stored end
end
stored = redis.pcall('SET', KEYS[1], '', 'PX', 1)
-- Without expiry counts use SET; with it SETEX is enough, and the key stays for a second.
if stored.err and ARGV[1] == '0' then return stored end
return 1
