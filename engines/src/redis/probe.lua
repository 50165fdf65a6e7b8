-- Writes a key and removes it in the same step, so that no client sees it. Fails where a count would.
-- KEYS: the key. Returns 1.
local stored = redis.pcall('HSET', KEYS[1], 'probe', '1')
if type(stored) == 'table' then return stored end
redis.call('EXPIRE', KEYS[1], 0)
return 1
