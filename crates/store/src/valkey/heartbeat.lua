-- Which instances live, by this server's clock.
--
-- KEYS  1 until (sorted set: instance by when its time is over)   2 joined (sorted set: instance by the order of joining)
--       3 notes (hash)
-- ARGV  1 instance   2 its note   3 milliseconds that it lives for, 0 if it leaves
--
-- Returns the instances and their notes, the one that joined first first.

local lives_until, joined, notes = KEYS[1], KEYS[2], KEYS[3]
local instance, note, lives_for = ARGV[1], ARGV[2], tonumber(ARGV[3])

local function leave(gone)
  redis.call('ZREM', lives_until, gone)
  redis.call('ZREM', joined, gone)
  redis.call('HDEL', notes, gone)
end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
for _, late in ipairs(redis.call('ZRANGEBYSCORE', lives_until, '-inf', now)) do leave(late) end
if lives_for == 0 then
  leave(instance)
else
  if not redis.call('ZSCORE', joined, instance) then
    local youngest = redis.call('ZREVRANGE', joined, 0, 0, 'WITHSCORES')
    redis.call('ZADD', joined, tonumber(youngest[2] or 0) + 1, instance)
  end
  -- None may live longer than that from now: if this server's clock was set back, the lease of an instance that has died would
  -- else last until the clock is where it was.
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', lives_until, '(' .. now + lives_for, '+inf')) do
    redis.call('ZADD', lives_until, now + lives_for, id)
  end
  redis.call('ZADD', lives_until, now + lives_for, instance)
  redis.call('HSET', notes, instance, note)
end
local live_members = {}
for _, id in ipairs(redis.call('ZRANGE', joined, 0, -1)) do
  table.insert(live_members, id)
  table.insert(live_members, redis.call('HGET', notes, id) or '')
end
return live_members
