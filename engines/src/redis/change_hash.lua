-- How change.lua reads and writes a hash.
local MOST, NEVER = '9223372036854775807', '0'
local NAMES = {'r_count', 'r_entered', 'r_updated', 'wl_count', 'wl_entered', 'wl_updated'}

local function earlier(one, other) return tonumber(one) < tonumber(other) end

local function is_number(digits)
  return digits == '0' or string.find(digits, '^[1-9]%d*$')
end

local function is_known(place, text)
  if place % 3 == 1 then return is_number(text) and (#text < #MOST or #text == #MOST and text <= MOST) end
  if string.sub(text, 1, 1) == '-' then text = string.sub(text, 2) end
  return is_number(text) and tonumber(text) <= 9223372036854
end

local function read()
  local record = redis.pcall('HMGET', KEYS[1], unpack(NAMES))
  if record.err then return nil, record end
  for place = 1, 6 do
    local text = record[place] or '0'
    if not is_known(place, text) then return nil, 0 end
    record[place] = text == '-0' and '0' or text
  end
  return record
end

local function write(record, old, age)
  local changed = {}
  for place, name in ipairs(NAMES) do
    if record[place] ~= old[place] then
      changed[#changed + 1] = name
      changed[#changed + 1] = record[place]
    end
  end
  if #changed > 0 then
    local stored = redis.pcall('HSET', KEYS[1], unpack(changed))
    if type(stored) == 'table' then return stored end
  end
  if age ~= '0' then redis.call('EXPIRE', KEYS[1], age) end
  return 1
end

