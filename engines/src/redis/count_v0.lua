-- Counts reports or whitelistings in a text. Leaves a record that cannot be read as it is.
-- KEYS: the record, and the mark of a signed count if it is one.
-- ARGV: r or wl, the time as YYYY-MM-DD HH:MM:SS, the time to live in seconds (0: for ever), how many to add, the latest
-- stored time that is believed (a date goes back only if it is later), the mark's time to live.
-- Returns 1 if it has counted, 2 if the mark was there, 3 if the mark tells that it may have been counted, 0 if the record
-- cannot be read.
local MOST = '9223372036854775807'
local DATE = '^%d%d%d%d%-[01]%d%-[0-3]%d [0-2]%d:[0-5]%d:[0-5]%d$'
local value = redis.pcall('GET', KEYS[1])
if type(value) == 'table' then return value end

local fields = {}
for field in string.gmatch((value or '0,,,0,,') .. ',', '([^,]*),') do
  fields[#fields + 1] = field
end
if #fields ~= 6 then return 0 end
for i, field in ipairs(fields) do
  if i % 3 == 1 then
    if not string.find(field, '^%d+$') or #field > #MOST or #field == #MOST and field > MOST then return 0 end
  elseif field ~= '' and not string.find(field, DATE) then
    return 0
  end
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

local kind, now, age, times = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local first = 1
if kind == 'wl' then first = 4 end
fields[first] = add(fields[first], times)
if fields[first + 1] == '' then fields[first + 1] = now end
if fields[first + 2] <= now or fields[first + 2] > ARGV[5] then fields[first + 2] = now end
if KEYS[2] then
  local known = redis.pcall('GET', KEYS[2])
  if type(known) == 'table' then return known end
  if known == 'pending' then return 3 end
  -- A known mark is written once more, as WAIT waits for what was written.
  local made = redis.pcall('SETEX', KEYS[2], ARGV[6], '1')
  if made.err then return made end
  if known then return 2 end
end
local stored
if age == '0' then
  stored = redis.pcall('SET', KEYS[1], table.concat(fields, ','))
else
  stored = redis.pcall('SETEX', KEYS[1], age, table.concat(fields, ','))
end
if stored.err then
  -- Nothing was counted, so the mark ends soon.
  if KEYS[2] then redis.pcall('SETEX', KEYS[2], 1, '1') end
  return stored
end
return 1
