-- Stores a whole hash, in place of any value of the key.
-- KEYS: the record. ARGV: the time to live in seconds (0: for ever), then names and values of fields.
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
if ARGV[1] ~= '0' then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return 1
