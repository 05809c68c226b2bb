-- Devices of one bucket in the order of their names.
--
-- KEYS  1 devices   2 names
-- ARGV  1, 2 the bounds, as ZRANGEBYLEX has them   3 the most names to look at   4 '1' or '0' for those that are connected
--       or not, '' for both
--
-- Returns the last name looked at, nothing if no name follows, then names and records.

local devices, names = KEYS[1], KEYS[2]
local most, wanted = tonumber(ARGV[3]), ARGV[4]

local looked_at = redis.call('ZRANGEBYLEX', names, ARGV[1], ARGV[2], 'LIMIT', 0, most)
local found = {#looked_at == most and looked_at[most] or ''}
if #looked_at > 0 then
  local records = redis.call('HMGET', devices, unpack(looked_at))
  for at, record in ipairs(records) do
    if record and (wanted == '' or record:byte(5) % 2 == tonumber(wanted)) then
      table.insert(found, looked_at[at])
      table.insert(found, record)
    end
  end
end
return found
