-- Stores the fields of a record. Other fields of the hash stay, and so does its time to live unless a new one is given.
-- KEYS: the record. ARGV: the time to live in seconds (0: as it is), then names and values of fields.
local stored = redis.pcall('HSET', KEYS[1], unpack(ARGV, 2))
if type(stored) == 'table' then
  -- A value of another type is replaced. Redis checks the memory limit before the type, and for the first write only: a
  -- removal before this point would let the script pass the limit.
  if not string.find(stored.err, 'WRONGTYPE', 1, true) then return stored end
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], unpack(ARGV, 2))
end
if ARGV[1] ~= '0' then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return 1
