-- Writes a row of the series.
--
-- KEYS  1 starts (sorted set: start by itself)   2 order (list of starts as they were written)   3 figures (hash by start)
-- ARGV  1 start   2 figures   3 1 if a row that exists is replaced   4 how many rows are kept
--
-- Returns 1 if the row was written.

local starts, order, figures = KEYS[1], KEYS[2], KEYS[3]
local start, rows_max = ARGV[1], tonumber(ARGV[4])

local written = redis.call('HSETNX', figures, start, ARGV[2])
if written == 1 then
  redis.call('ZADD', starts, start, start)
  redis.call('RPUSH', order, start)
elseif ARGV[3] == '1' then
  redis.call('HSET', figures, start, ARGV[2])
  written = 1
end
while redis.call('LLEN', order) > rows_max do
  local oldest = redis.call('LPOP', order)
  redis.call('ZREM', starts, oldest)
  redis.call('HDEL', figures, oldest)
end
return written
