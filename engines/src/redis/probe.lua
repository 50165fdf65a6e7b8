-- Does what a count does, and removes the key in the same step, so that no client sees it.
-- KEYS: the key. Returns 1.
local read = redis.pcall('HMGET', KEYS[1], 'probe')
if read.err then return read end
local stored = redis.pcall('HSET', KEYS[1], 'probe', '1')
if type(stored) == 'table' then return stored end
redis.call('EXPIRE', KEYS[1], 0)
return 1
