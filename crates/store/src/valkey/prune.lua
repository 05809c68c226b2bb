-- Drops the events of devices of one bucket that were received before a moment.
--
-- KEYS  1 due   2… the history of each device
-- ARGV  1 the moment in seconds   2… the names
--
-- Returns how many events were dropped.

local due, before = KEYS[1], tonumber(ARGV[1])
local dropped = 0

for at = 2, #ARGV do
  local name, history = ARGV[at], KEYS[at]
  local oldest = redis.call('LINDEX', history, -1)
  while oldest and struct.unpack('>I4', oldest, 9) < before do
    redis.call('RPOP', history)
    dropped = dropped + 1
    oldest = redis.call('LINDEX', history, -1)
  end
  if oldest then
    redis.call('ZADD', due, struct.unpack('>I4', oldest, 9), name)
  else
    redis.call('ZREM', due, name)
  end
end
return dropped
