-- Deletes those of the devices of one bucket that have been disconnected since before a moment.
--
-- KEYS  1 devices   2 names   3 due   4… the history of each device
-- ARGV  1, 2 the moment, its upper and lower four bytes   3… the names

local devices, names, due = KEYS[1], KEYS[2], KEYS[3]
local before_high, before_low = tonumber(ARGV[1]), tonumber(ARGV[2])

local function is_gone(record)
  local flags = record:byte(5)
  if flags % 2 == 1 then return false end
  -- Of several events the first decides, and its length stands before it.
  local from = flags >= 2 and 10 or 6
  local high, low = struct.unpack('>I4I4', record, from + 9)
  local unknown = high == 0 and low == 0
  return not unknown and (high < before_high or (high == before_high and low < before_low))
end

for at = 3, #ARGV do
  local name = ARGV[at]
  local record = redis.call('HGET', devices, name)
  if record and is_gone(record) then
    redis.call('HDEL', devices, name)
    redis.call('ZREM', names, name)
    redis.call('ZREM', due, name)
    redis.call('DEL', KEYS[at + 1])
  end
end
