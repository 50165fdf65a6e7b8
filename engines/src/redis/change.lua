-- Changes a record. Leaves one that cannot be read as it is.
-- KEYS: the record. ARGV: the time to live in seconds (0: as it is), merge or set, the date of a count that has none, then
-- for reports and for whitelistings a count, the first date and the last one. To merge is to add the counts and to keep
-- the outermost dates; to set is to store the count and the last date unless they are empty.
-- Returns 1 if the record is changed, 0 if it cannot be read.

-- Adds digit by digit, up to the largest count: Lua's numbers are exact only up to 2^53.
local function sum(one, other)
  local width = math.max(#one, #other)
  one = string.rep('0', width - #one) .. one
  other = string.rep('0', width - #other) .. other
  local digits, carry = '', 0
  for place = width, 1, -1 do
    local digit = string.byte(one, place) + string.byte(other, place) - 96 + carry
    carry = digit > 9 and 1 or 0
    digits = string.char(48 + digit - 10 * carry) .. digits
  end
  if carry == 1 then digits = '1' .. digits end
  if #digits > #MOST or #digits == #MOST and digits > MOST then return MOST end
  return digits
end

local function merge(tally, count, first, last)
  tally.count = sum(tally.count, count)
  if first ~= NEVER and (tally.first == NEVER or earlier(first, tally.first)) then tally.first = first end
  if last ~= NEVER and (tally.last == NEVER or earlier(tally.last, last)) then tally.last = last end
end

local function set(tally, count, last, now)
  if count == '' and last == '' then return end
  if count == '' then count = tally.count end
  if count == '0' then
    tally.count, tally.first, tally.last = count, NEVER, NEVER
    return
  end
  if count == tally.count and last == '' then return end
  tally.count = count
  if last ~= '' then
    tally.last = last
  elseif tally.last == NEVER then
    tally.last = now
  end
  if tally.first == NEVER or earlier(tally.last, tally.first) then tally.first = tally.last end
end

local old, failure = read()
if not old then return failure end
local record = {}
for place = 1, 4, 3 do
  local tally = {count = old[place], first = old[place + 1], last = old[place + 2]}
  local count, first, last = ARGV[place + 3], ARGV[place + 4], ARGV[place + 5]
  if ARGV[2] == 'merge' then merge(tally, count, first, last) else set(tally, count, last, ARGV[3]) end
  record[place], record[place + 1], record[place + 2] = tally.count, tally.first, tally.last
end
return write(record, old, ARGV[1])
