-- Sets the mark of a signed count, whose record is on another node while their slot moves.
-- KEYS: the mark. ARGV: pending, counted or none, the mark's time to live.
-- Returns 1 if it is set, 2 if the count was counted before, 3 if it may have been.
local known = redis.pcall('GET', KEYS[1])
if type(known) == 'table' then return known end
if ARGV[1] == 'pending' and known then return known == 'pending' and 3 or 2 end
-- The rights for this layout have no command that removes a key, so it ends soon.
local stored = redis.pcall('SETEX', KEYS[1], ARGV[1] == 'none' and 1 or ARGV[2], ARGV[1])
if stored.err then return stored end
return 1
