-- Stores a hash whole, in place of whatever is there.
-- KEYS: the record. ARGV: seconds to live or 0 for ever, then names and values.
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
if ARGV[1] ~= '0' then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return 1
