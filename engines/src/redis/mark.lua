-- Sets the mark of a signed count, whose record is on another node while their slot moves.
-- KEYS: the mark. ARGV: pending, counted or none, the mark's time to live.
-- Returns 1 if it is set, 2 if the count was counted before, 3 if it may have been.
local known = redis.pcall('HMGET', KEYS[1], 'counted')
if known.err then return known end
if ARGV[1] == 'pending' and known[1] then return known[1] == 'pending' and 3 or 2 end
local stored = redis.pcall('HSET', KEYS[1], 'counted', ARGV[1])
if type(stored) == 'table' then return stored end
return redis.pcall('EXPIRE', KEYS[1], ARGV[1] == 'none' and 0 or ARGV[2])
