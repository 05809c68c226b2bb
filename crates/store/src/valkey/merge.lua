-- Merges what is new about devices of one bucket into what is kept of them, as one step.
--
-- KEYS  1 devices (hash: name to record)   2 names (sorted set, all of score 0)   3 changes (stream of names)
--       4 due (sorted set: name by when its oldest event was received)   5 tombstones (see forget.lua)
--       6… the history of each device that has events
-- ARGV  1 the token of this call   2 events that a device may have   3 events among which a repeated one is looked for
--       4… for each device: name, record, the record that this one replaces or '', the sequence of the change that the record
--       is based on or '', number of events, the events
--
-- A record is: received at (4 bytes), flags (1), then one presence event; or, if the flags say so, several, each after its
-- length (4 bytes); or nothing, if only events follow that say nothing of a status. A presence event is: kind (1), session (8),
-- time (8), close code (2), payload. An event of a history is: received at, presence event; in a history its sequence
-- (8 bytes) comes before it. Numbers are big endian; of two moments the later is the greater.
--
-- The script decides between two states of one presence event each, as nearly all are. It leaves as they are, and returns,
-- those for which the rule needs more: a state of several presence events, two messages that differ in their bytes alone, two
-- sessions that began within a second. The caller merges the two by the rule and calls again, naming the record that its
-- result replaces. If another record is there by then, it is returned once more.
--
-- Returns the position of the newest change, then, for each device left open, its number in this call and its record; or, if it
-- was forgotten after the change that the new record is based on, its number and its tombstone in a list of one.

local REQUEST, CONNECT, TAKEOVER, REFUSAL, DISCONNECT = 0, 1, 2, 3, 4
local SEVERAL = 2

-- What the order of events looks at, but for the payload; nil for a state of several.
local function place(record)
  local _, flags, kind, s1, s2, t1, t2, code = struct.unpack('>I4BBI4I4I4I4I2', record)
  if flags >= SEVERAL then return nil end
  return {s1, s2, kind, t1, t2, code}
end

local function compare(one, other, parts)
  for part = 1, parts do
    if one[part] ~= other[part] then return one[part] - other[part] end
  end
  return 0
end

-- Whether two sessions are not the same and began within a second of each other. The difference of distant moments is not
-- exact, but far from a second.
local function are_simultaneous(one, other)
  local nanos = (one[1] - other[1]) * 4294967296 + (one[2] - other[2])
  return nanos ~= 0 and math.abs(nanos) <= 1000000000
end

-- Whether the new record changes anything; nil: not to be decided here.
local function would_change(kept, new)
  if #new == 4 or kept:sub(5) == new:sub(5) then return false end
  local old, incoming = place(kept), place(new)
  if not old or not incoming or (old[3] ~= CONNECT and old[3] ~= DISCONNECT) then return nil end
  local kind = incoming[3]
  if kind == REQUEST then return false end
  if are_simultaneous(incoming, old) then return nil end
  if kind == CONNECT or kind == DISCONNECT then
    local order = compare(incoming, old, 6)
    if order ~= 0 then return order > 0 end
    return nil
  end
  -- The end of a session that is long past.
  if compare(incoming, old, 2) < 0 then return false end
  return nil
end

local function received_at(bytes)
  return (struct.unpack('>I4', bytes))
end

local function is_among(entries, statement, most)
  for at = 1, math.min(#entries, most) do
    if entries[at]:sub(13) == statement then return true end
  end
  return false
end

-- Adds the events that are not among the newest ones. A sequence rises also after a history has been emptied, because it
-- follows the time: a second has room for a million.
local function add_events(key, due, name, events, events_max, search)
  local newest = redis.call('LRANGE', key, 0, search - 1)
  local was_empty = #newest == 0
  local sequence = 0
  -- The length of the history, once something has been added.
  local len
  if not was_empty then
    local high, low = struct.unpack('>I4I4', newest[1])
    sequence = high * 4294967296 + low
  end
  for _, event in ipairs(events) do
    if not is_among(newest, event:sub(5), search) then
      sequence = math.max(sequence + 1, received_at(event) * 1048576)
      local entry = struct.pack('>I4I4', math.floor(sequence / 4294967296), sequence % 4294967296) .. event
      len = redis.call('LPUSH', key, entry)
      table.insert(newest, 1, entry)
    end
  end
  if was_empty then redis.call('ZADD', due, received_at(events[1]), name) end
  if not len or len > events_max then redis.call('LTRIM', key, 0, events_max - 1) end
end

local devices, names, changes, due, tombstones = unpack(KEYS, 1, 5)
local has_tombstones = redis.call('EXISTS', tombstones) == 1
local token, events_max, repeats_within = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
-- An instance that has been away for as many changes as there are devices reads everything again sooner than all of these. Of a
-- small fleet more are kept: all buckets together what a busy one changes in some seconds, so that whoever only falls behind
-- need not read everything.
local changes_max = math.max(1024, redis.call('HLEN', devices))

local newest = redis.call('XREVRANGE', changes, '+', '-', 'COUNT', 1)[1]
local position = newest and newest[1] or '0-0'
local sequence = tonumber(position:match('^%d+'))

-- The tombstone of a device that was forgotten after that change.
local function later_tombstone(name, based_on)
  local tombstone = has_tombstones and based_on ~= '' and redis.call('HGET', tombstones, name)
  return tombstone and tonumber(tombstone:match('^%d+')) > tonumber(based_on) and tombstone
end

local open = {position}
local at, number, history = 4, 0, 6
while at <= #ARGV do
  local name, record, replaces, based_on = unpack(ARGV, at, at + 3)
  local events_len = tonumber(ARGV[at + 4])
  local kept = redis.call('HGET', devices, name)
  local tombstone = later_tombstone(name, based_on)
  local changed
  if tombstone then
    table.insert(open, number)
    table.insert(open, {tombstone})
  elseif not kept then
    changed = #record > 4
  elseif replaces == '' then
    changed = would_change(kept, record)
  elseif replaces == kept then
    changed = kept:sub(5) ~= record:sub(5)
  end
  local is_known = not tombstone and (kept or changed)
  if changed == nil and not tombstone then
    table.insert(open, number)
    table.insert(open, kept)
  elseif is_known then
    local received, kept_received = received_at(record), kept and received_at(kept) or 0
    if changed or received > kept_received then
      local merged = record
      if not changed or received < kept_received then
        merged = struct.pack('>I4', math.max(received, kept_received)) .. (changed and record or kept):sub(5)
      end
      redis.call('HSET', devices, name, merged)
      if not kept then redis.call('ZADD', names, 0, name) end
      sequence = sequence + 1
      position = string.format('%.0f-%s', sequence, token)
      redis.call('XADD', changes, 'MAXLEN', '~', changes_max, position, 'd', name)
    end
    if events_len > 0 then
      local events = {unpack(ARGV, at + 5, at + 4 + events_len)}
      -- What has just changed something was never received before, so it needs no search.
      local is_new = changed and events_len == 1 and events[1]:sub(5) == record:sub(6)
      add_events(KEYS[history], due, name, events, events_max, is_new and 1 or repeats_within)
    end
  end
  if events_len > 0 then history = history + 1 end
  number = number + 1
  at = at + 5 + events_len
end
open[1] = position
return open
