-- The devices of one bucket that others have changed after a position, each once and as it is now.
--
-- KEYS  1 devices   2 changes
-- ARGV  1 the position, 0-0 for the beginning   2 the most devices to return   3 how many of the following changes the caller has made,
--       who knows those devices   4… later positions that must be there
--
-- Returns the position reached, whether nothing follows it, then names and records. The record of a device that was forgotten
-- comes after the name and the time at which it was forgotten, in four bytes. Returns nothing if one of these
-- positions is not there: it is too old, or this bucket is not the one in which it was. A position is the sequence of a change
-- and a token by chance, so two histories that have parted never share one.

local devices, changes = KEYS[1], KEYS[2]
local since, most = ARGV[1], tonumber(ARGV[2])

local function sequence_of(position)
  return tonumber(position:match('^%d+'))
end

local function token_of(position)
  return position:match('-(.*)')
end

local own
for at = 4, 3 + tonumber(ARGV[3]) do
  own = own or {}
  own[token_of(ARGV[at])] = true
end

-- A device that changes often stands there often.
local most_read = most * 4
local entries
if since == '0-0' then
  entries = redis.call('XRANGE', changes, '-', '+', 'COUNT', most_read)
  if entries[1] and not entries[1][1]:find('^1-') then return {} end
else
  entries = redis.call('XRANGE', changes, since, '+', 'COUNT', most_read + 1)
  if not entries[1] or entries[1][1] ~= since then return {} end
  table.remove(entries, 1)
end

local reached, at_end, seen, names, forgotten_at = since, #entries < most_read, {}, {}, {}
for _, entry in ipairs(entries) do
  local name = entry[2][2]
  -- Of a device that was forgotten, what has come since must follow.
  local is_known = own and own[token_of(entry[1])] and entry[2][1] ~= 'f'
  if not is_known and not seen[name] then
    if #names == most then
      at_end = false
      break
    end
    seen[name] = true
    table.insert(names, name)
  end
  if entry[2][1] == 'f' then forgotten_at[name] = tonumber(entry[2][4]) end
  reached = entry[1]
end
-- What must be there is among what was read, or behind it: then the next call looks for it.
local is_read, reached_sequence = {}, sequence_of(reached)
if ARGV[4] then
  for _, entry in ipairs(entries) do is_read[entry[1]] = true end
end
for at = 4, #ARGV do
  local is_due = at_end or sequence_of(ARGV[at]) <= reached_sequence
  if is_due and not is_read[ARGV[at]] then return {} end
end
local found = {reached, at_end and 1 or 0}
if #names > 0 then
  local records = redis.call('HMGET', devices, unpack(names))
  for at, record in ipairs(records) do
    if forgotten_at[names[at]] then
      table.insert(found, names[at])
      table.insert(found, struct.pack('>I4', forgotten_at[names[at]]))
    end
    -- A device that was forgotten meanwhile is no longer there.
    if record then
      table.insert(found, names[at])
      table.insert(found, record)
    end
  end
end
return found
