-- Deletes a device of one bucket, and leaves a tombstone.
--
-- KEYS  1 devices   2 names   3 due   4 the history of the device   5 changes   6 tombstones (hash: name to the sequence of the
--       change and the time, each a number)
-- ARGV  1 the name   2 the token of this call   3 the time in seconds   4 tombstones that a bucket keeps at least
--
-- Returns the position of the change. Its entry has the field 'f' where others have 'd'.

local devices, names, due, history, changes, tombstones = unpack(KEYS)
local name, token, time, tombstones_max = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])

local function sequence_of(tombstone) return tonumber(tombstone:match('^%d+')) end

redis.call('HDEL', devices, name)
redis.call('ZREM', names, name)
redis.call('ZREM', due, name)
redis.call('DEL', history)

local newest = redis.call('XREVRANGE', changes, '+', '-', 'COUNT', 1)[1]
local sequence = tonumber((newest and newest[1] or '0-0'):match('^%d+')) + 1
local position = string.format('%.0f-%s', sequence, token)
redis.call('XADD', changes, 'MAXLEN', '~', math.max(1024, redis.call('HLEN', devices)), position, 'f', name, 'at', time)

if redis.call('HLEN', tombstones) >= 2 * tombstones_max then
  local all, sequences = redis.call('HGETALL', tombstones), {}
  for at = 2, #all, 2 do table.insert(sequences, sequence_of(all[at])) end
  table.sort(sequences)
  local oldest = sequences[#sequences - tombstones_max + 1]
  for at = 1, #all, 2 do
    if sequence_of(all[at + 1]) < oldest then redis.call('HDEL', tombstones, all[at]) end
  end
end
redis.call('HSET', tombstones, name, string.format('%.0f %s', sequence, time))
return position
