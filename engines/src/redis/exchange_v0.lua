-- Changes a text if it is the expected one; a missing one is the record without a count. Returns whether it did.
-- KEYS: the record. ARGV: the time to live in seconds (0: for ever), the expected text, then the new one, or none to
-- remove the key.
if (redis.call('GET', KEYS[1]) or '0,,,0,,') ~= ARGV[2] then return 0 end
if #ARGV == 2 then
  redis.call('DEL', KEYS[1])
elseif ARGV[1] == '0' then
  redis.call('SET', KEYS[1], ARGV[3])
else
  redis.call('SETEX', KEYS[1], ARGV[1], ARGV[3])
end
return 1
