-- Counts reports or whitelistings in a hash. Leaves a record that cannot be read as it is.
-- KEYS: the record, and the mark of a signed count if it is one.
-- ARGV: r or wl, the time in Unix seconds, the time to live in seconds (0: for ever), how many to add, the latest stored
-- time that is believed (a date goes back only if it is later), the mark's time to live.
-- Returns 1 if it has counted, 2 if the mark was there, 3 if the mark tells that it may have been counted, 0 if the record
-- cannot be read.
local MOST = '9223372036854775807'
local record = redis.pcall('HMGET', KEYS[1],
  'r_count', 'wl_count', 'r_entered', 'r_updated', 'wl_entered', 'wl_updated')
if record.err then return record end

local function is_number(digits)
  return digits == '0' or string.find(digits, '^[1-9]%d*$')
end

-- Counts are compared as text: Lua's numbers are exact only up to 2^53.
local function is_count(text)
  return is_number(text) and (#text < #MOST or #text == #MOST and text <= MOST)
end

local function is_date(text)
  if string.sub(text, 1, 1) == '-' then text = string.sub(text, 2) end
  return is_number(text) and tonumber(text) <= 9223372036854
end

-- Adds one, digit by digit; the largest count stays.
local function add_one(digits)
  if digits == MOST then return digits end
  local kept = #digits
  while kept > 0 and string.sub(digits, kept, kept) == '9' do kept = kept - 1 end
  local zeros = string.rep('0', #digits - kept)
  if kept == 0 then return '1' .. zeros end
  return string.sub(digits, 1, kept - 1) .. (string.byte(digits, kept) - 47) .. zeros
end

-- Lua's numbers are exact up to 2^53, which has 16 digits.
local function add(digits, times)
  if #digits < 16 then return string.format('%.0f', digits + times) end
  for _ = 1, times do digits = add_one(digits) end
  return digits
end

for i = 1, 6 do
  local value = record[i]
  if value then
    if i <= 2 then
      if not is_count(value) then return 0 end
    elseif not is_date(value) then
      return 0
    end
  end
end

local kind, now, age, times = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local count, entered, updated = record[1], record[3], tonumber(record[4] or 0)
if kind == 'wl' then count, entered, updated = record[2], record[5], tonumber(record[6] or 0) end
if not entered or entered == '0' or entered == '-0' then entered = now end
if updated <= tonumber(now) or updated > tonumber(ARGV[5]) then updated = tonumber(now) end
if KEYS[2] then
  local known = redis.pcall('HMGET', KEYS[2], 'counted')
  if known.err then return known end
  if known[1] == 'pending' then return 3 end
  local marked = redis.pcall('HSET', KEYS[2], 'counted', now)
  if type(marked) == 'table' then return marked end
  if known[1] then return 2 end
  local limited = redis.pcall('EXPIRE', KEYS[2], ARGV[6])
  if type(limited) == 'table' then return limited end
end
local stored = redis.pcall('HSET', KEYS[1], kind .. '_count', add(count or '0', times),
  kind .. '_entered', entered, kind .. '_updated', string.format('%.0f', updated))
if type(stored) == 'table' then
  -- Nothing was counted, so the mark ends at once.
  if KEYS[2] then redis.pcall('EXPIRE', KEYS[2], 0) end
  return stored
end
if age ~= '0' then redis.call('EXPIRE', KEYS[1], age) end
return 1
