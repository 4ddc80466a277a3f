-- Appends to one channel, all or nothing, and announces it; or only announces (ephemeral).
--
-- KEYS  1 meta   2 list   3 idempotency key (only when one is given)
-- ARGV  1 epoch candidate
--       2 s store, c store and close the channel, e ephemeral; behind it, on a retry, the age in ms of the first attempt
--         whose fate is unknown
--       3 pub/sub channel
--       4… three per entry: check, head, data
-- scripts.py writes the first line: PUBLISH (or SPUBLISH), TRIM_AT (trim when the list is longer), KEEP (to the last so
-- many), LIST_MS and META_MS (how long they live), RENEW_SECONDS (after so many both are renewed), TIME (nil, or what the
-- command of that name said). Arguments that never change would cost 0.1 µs each, of 6. In append_each.lua this file is the
-- body of a function; as one it would cost a lone append 1 µs.
--
-- One entry is announced by its record, as it is stored: each string of its length costs 0.5 µs here. records.py says what
-- else announcements are.
--
-- The meta is one string: "<epoch> <top> <check> <closed 0|1> <born, s> <renewed, s>".
--
-- Returns "<epoch> <offset of the last entry>" when all went as usual, else {epoch, offset, check, recognised 0|1,
-- announced 0|1}; errors CLOSED and UNCERTAIN, which changed nothing.
--
-- Scripts do not roll back, so whatever can be refused (wrong type, no permission, no memory) is touched before anything
-- is changed, and the announcement, which readers can do without, comes last under pcall.

local call = redis.call

local epoch, top, prev, rest
local closed = false
local meta = call('GET', KEYS[1])
if meta then
  epoch, top, prev, rest = string.match(meta, '^(%w+) (%d+) (%w+)( 0 .*)$')
  if not epoch then
    epoch, top, prev, rest = string.match(meta, '^(%w+) (%d+) (%w+)( 1 .*)$')
    closed = true
  end
  if not epoch then
    return redis.error_reply('WRONGTYPE the meta of this channel was not written by this library')
  end
end

local time = TIME or call('TIME')
local seconds, now = time[1], time[2]
if #now == 6 then
  now = seconds .. string.sub(now, 1, 3)
else
  now = seconds .. string.sub(now + 1000000, 2, 4)
end

local args = #ARGV
local mode = ARGV[2]

if KEYS[3] then
  local first = call('GET', KEYS[3])
  if first then
    local e, o, c = string.match(first, '^(%w+) (%d+) (%w+)$')
    if not e then
      return redis.error_reply('WRONGTYPE this idempotency key was not written by this library')
    end
    return {e, tonumber(o), c, 1, 1}
  end
end

if prev == ARGV[args - 2] then
  -- The first attempt, held up somewhere, has come behind its own retry. It does not look back, which would cost every
  -- append; but this much is free, and on a channel that is not busy it is enough.
  return {epoch, tonumber(top), prev, 1, 1}
end

if #mode > 1 then
  -- A retry. Entries are ordered by time, so whoever finds one older than the first attempt has seen all that could be
  -- it. The second on top is for a clock that was set back a little. One that was set forward meanwhile makes younger
  -- entries look old as well, which nothing here can tell from a quiet hour: so the newest sixteen, which cost one call,
  -- are looked at whatever their age.
  local since = now - string.sub(mode, 2) - 1000
  local wanted = ARGV[args - 2]
  local length = meta and call('LLEN', KEYS[2]) or 0
  local proven, seen, chunk = false, 0, 16
  while not proven and seen < length do
    local entries = call('LRANGE', KEYS[2], -(seen + chunk), -(seen + 1))
    for i = #entries, 1, -1 do
      local offset, check, ms = string.match(entries[i], '^1 (%d+) %w+ (%w+) (%d+) ')
      if check == wanted then
        return {epoch, tonumber(offset), check, 1, 1}
      end
      proven = proven or ms and tonumber(ms) < since
    end
    seen = seen + #entries
    chunk = 64
  end
  if not proven and meta then
    -- the whole list is younger: that proves something only if nothing was trimmed and this life of the log is older
    local born = string.match(rest, '^ %d (%d+) ')
    proven = length >= tonumber(top) and (born + 1) * 1000 < since
  end
  if not proven then
    return redis.error_reply('UNCERTAIN the log does not reach back to the first attempt')
  end
  mode = string.sub(mode, 1, 1)
end

if not meta then
  -- a new life: what is left of an older one must not be taken for this one's
  call('DEL', KEYS[2])
  epoch, top, prev, rest = ARGV[1], '0', '0', ' 0 ' .. seconds .. ' 0000000000'
elseif closed then
  return redis.error_reply('CLOSED the end of this channel is stored')
end

if mode == 'e' then
  if not meta then
    call('SET', KEYS[1], epoch .. ' 0 0' .. rest, 'PX', META_MS)
  end
  local lengths, records = {}, {}
  for i = 4, args, 3 do
    local record = '~ ' .. top .. ' ' .. prev .. ' ' .. ARGV[i] .. ' ' .. now .. ' ' .. ARGV[i + 1] .. '\n' .. ARGV[i + 2]
    lengths[#lengths + 1] = #record
    records[#records + 1] = record
  end
  -- it cannot be read from the log, so it travels whole whatever its length
  local payload = records[1]
  if args > 6 or prev == '0' then
    payload = epoch .. ' ' .. top .. ' ' .. table.concat(lengths, ' ') .. '\n' .. table.concat(records)
  end
  local announced = redis.pcall(PUBLISH, ARGV[3], payload)
  return {epoch, tonumber(top), ARGV[args - 2], 0, type(announced) == 'table' and 0 or 1}
end

local start, payload, length
if args == 6 then
  local offset = top + 1 .. ' '
  local record = '1 ' .. offset .. prev .. ' ' .. ARGV[4] .. ' ' .. now .. ' ' .. ARGV[5] .. '\n' .. ARGV[6]
  length = call('RPUSH', KEYS[2], record)
  start = epoch .. ' ' .. offset
  if #record <= 16384 then
    payload = prev ~= '0' and record or start .. #record .. '\n' .. record
  end
else
  local offset = tonumber(top)
  local records, lengths, total = {}, {}, 0
  for i = 4, args, 3 do
    offset = offset + 1
    local check = ARGV[i]
    local record = '1 ' .. offset .. ' ' .. prev .. ' ' .. check .. ' ' .. now .. ' ' .. ARGV[i + 1] .. '\n' .. ARGV[i + 2]
    prev = check
    records[#records + 1] = record
    lengths[#lengths + 1] = #record
    total = total + #record
  end
  -- unpack is bounded by Lua's C stack (8,000 values)
  for i = 1, #records, 4000 do
    length = call('RPUSH', KEYS[2], unpack(records, i, math.min(i + 3999, #records)))
  end
  start = epoch .. ' ' .. offset .. ' '
  if total <= 16384 then
    payload = start .. table.concat(lengths, ' ') .. '\n' .. table.concat(records)
  end
end

local check = ARGV[args - 2]
if mode == 'c' then
  rest = ' 1' .. string.sub(rest, 3)
end
-- A list that has just been made has no expiry yet, whatever the meta says.
if seconds - string.sub(rest, -10) >= RENEW_SECONDS or length * 3 == args - 3 then
  call('SET', KEYS[1], start .. check .. string.sub(rest, 1, -11) .. seconds, 'PX', META_MS)
  call('PEXPIRE', KEYS[2], LIST_MS)
else
  call('SET', KEYS[1], start .. check .. rest, 'KEEPTTL')
end
if KEYS[3] then
  call('SET', KEYS[3], start .. check, 'PX', 300000)
end
if length > TRIM_AT then
  call('LTRIM', KEYS[2], KEEP, -1)
end

local announced = redis.pcall(PUBLISH, ARGV[3], payload or string.sub(start, 1, -2) .. '\n')
if type(announced) == 'table' then
  return {epoch, tonumber(string.match(start, ' (%d+)')), check, 0, 0}
end
return start
