-- How change.lua reads and writes a text.
local MOST, NEVER = '9223372036854775807', ''
local DATE = '^%d%d%d%d%-[01]%d%-[0-3]%d [0-2]%d:[0-5]%d:[0-5]%d$'

local function earlier(one, other) return one < other end

local function read()
  local value = redis.pcall('GET', KEYS[1])
  if type(value) == 'table' then return nil, value end
  local record = {}
  for field in string.gmatch((value or '0,,,0,,') .. ',', '([^,]*),') do
    record[#record + 1] = field
  end
  if #record ~= 6 then return nil, 0 end
  for place, text in ipairs(record) do
    if place % 3 == 1 then
      if not string.find(text, '^%d+$') or #text > #MOST or #text == #MOST and text > MOST then return nil, 0 end
      record[place] = string.gsub(text, '^0+(%d)', '%1')
    elseif text ~= '' and not string.find(text, DATE) then
      return nil, 0
    end
  end
  return record
end

local function write(record, old, age)
  local text = table.concat(record, ',')
  if text == table.concat(old, ',') then return 1 end
  local stored
  if age == '0' then
    stored = redis.pcall('SET', KEYS[1], text)
  else
    stored = redis.pcall('SETEX', KEYS[1], age, text)
  end
  if stored.err then return stored end
  return 1
end

