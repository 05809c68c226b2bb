-- Sets or drops what is kept of a delivery, if the instance holds its lease.
--
-- KEYS  1 states (hash: name to state)   2 holders   3 until (see lease_deliveries.lua)
-- ARGV  1 endpoint   2 instance   3 name   4 state, or nothing to drop it
--
-- Returns 1 if it holds the lease, 0 if it does not.

local states, holders, lasts_until = KEYS[1], KEYS[2], KEYS[3]
local endpoint, holder, name, state = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if redis.call('HGET', holders, endpoint) ~= holder then return 0 end
if tonumber(redis.call('ZSCORE', lasts_until, endpoint) or 0) < now then return 0 end
if state then
  redis.call('HSET', states, name, state)
else
  redis.call('HDEL', states, name)
end
return 1
