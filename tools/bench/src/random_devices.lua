-- What wrk asks for: the status of random devices, the same ones for every server. The names are those of messages.rs.
-- Arguments: devices, types, seed.

local requests, count = {}, 0

function init(args)
  local devices, types = tonumber(args[1]), tonumber(args[2])
  math.randomseed(tonumber(args[3]))
  -- Written out before the load begins, so that wrk has as much of the machine to itself as it can.
  count = math.min(devices, 200000)
  for i = 1, count do
    local device = math.random(0, devices - 1)
    requests[i] = wrk.format("GET", string.format("/sensor-%02d/d%08d", device % types, device))
  end
end

local at = 0

function request()
  at = at % count + 1
  return requests[at]
end
