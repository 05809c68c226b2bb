-- Gives an instance the leases of deliveries, as far as no other holds them.
--
-- KEYS  1 holders (hash: endpoint to instance)   2 until (sorted set: endpoint by when its lease is over)
-- ARGV  1 instance   2 milliseconds that a lease lasts, 0 to give them back   3… endpoints
--
-- Returns the endpoints whose leases it holds.

local holders, lasts_until = KEYS[1], KEYS[2]
local holder, lasts = ARGV[1], tonumber(ARGV[2])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local held = {}
for at = 3, #ARGV do
  local endpoint = ARGV[at]
  local other = redis.call('HGET', holders, endpoint)
  local is_own = other == holder
  local ends_at = tonumber(redis.call('ZSCORE', lasts_until, endpoint) or 0)
  if lasts == 0 then
    if is_own then
      redis.call('HDEL', holders, endpoint)
      redis.call('ZREM', lasts_until, endpoint)
    end
  elseif is_own or not other or ends_at < now then
    redis.call('HSET', holders, endpoint, holder)
    redis.call('ZADD', lasts_until, now + lasts, endpoint)
    table.insert(held, endpoint)
  elseif ends_at > now + lasts then
    -- This server's clock was set back: the lease would last until the clock is where it was.
    redis.call('ZADD', lasts_until, now + lasts, endpoint)
  end
end
return held
