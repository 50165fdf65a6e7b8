-- Changes a hash if it holds the expected record; a missing field is 0. Returns whether it did.
-- KEYS: the record. ARGV: the time to live in seconds (0: for ever), the six expected values, then the six new ones, or
-- none to remove the hash.
local names = {'r_count', 'r_entered', 'r_updated', 'wl_count', 'wl_entered', 'wl_updated'}
local held = redis.call('HMGET', KEYS[1], unpack(names))
for i = 1, 6 do
  if (held[i] or '0') ~= ARGV[i + 1] then return 0 end
end
if #ARGV == 7 then
  redis.call('DEL', KEYS[1])
  return 1
end
local fields = {}
for i = 1, 6 do
  fields[2 * i - 1] = names[i]
  fields[2 * i] = ARGV[i + 7]
end
redis.call('HSET', KEYS[1], unpack(fields))
if ARGV[1] ~= '0' then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return 1
