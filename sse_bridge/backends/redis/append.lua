-- Appends to one channel, all or nothing, and announces it; or only announces (ephemeral).
--
-- KEYS  1 meta, by whose name the pub/sub channel goes as well   2 list   3 idempotency key (only when one is given)
-- ARGV  the entries, each "<check> <head>\n<data>"; if it is not one alone to be stored, before them:
--       s store, c store and close the channel, e ephemeral; behind it, on a retry, the age in ms of the first attempt
--         whose fate is unknown
-- scripts.py writes the first line: PUBLISH (or SPUBLISH), TRIM_AT (trim when the list is longer), KEEP (to the last so
-- many; with a replay_size of 0 from so many on, which is none), ANNOUNCE_BYTES (of longer records only the position is
-- announced), LIST_MS and META_MS (how long they live), RENEW_SECONDS (after so many both are renewed), TIME (nil, or what
-- the command of that name said). An argument costs 0.2 µs of 6, a string made here 0.1: so the publisher joins what it can. In
-- append_each.lua this file is the body of a function; as one it would cost a lone append 1 µs.
--
-- One entry is announced by its record, as it is stored: each string of its length costs 0.5 µs here. records/codec.py says what
-- else announcements are.
--
-- The meta is one string in columns, since to match it would cost 0.5 µs:
-- "<epoch, 8> <born, s, 10> <due, s, 10> <check of top, 8> <top>", behind it " closed". The epoch is the check of the first
-- entry that found none. Where there is none an ephemeral event makes none: it is announced with epoch and top 0. The first
-- append from `due` on renews both, so the newest entry is older than that, whatever the retention was when it was appended.
--
-- Returns the meta as it was when all went as usual, else {epoch, offset, check, recognised 0|1, announced 0|1}; errors
-- CLOSED and UNCERTAIN, which changed nothing.
--
-- Scripts do not roll back, so whatever can be refused (wrong type, no permission, no memory) is touched before anything
-- is changed, and the announcement, which readers can do without, comes last under pcall.

local call, sub = redis.call, string.sub

local prev, top -- `prev` and `check` with the space behind them
local closed = false
local meta = call('GET', KEYS[1])
if meta then
  prev, top = sub(meta, 32, 40), tonumber(sub(meta, 41))
  if not top or #meta > 57 or string.byte(meta, 40) ~= 32 then
    top = tonumber(string.match(meta, '^%w+ %d+ %d+ %w+ (%d+) closed$'))
    if not top then
      return redis.error_reply('WRONGTYPE the meta of this channel was not written by this library')
    end
    closed = true
  end
end

local time = TIME or call('TIME')
local seconds, millis = time[1], time[2]
if #millis == 6 then
  millis = sub(millis, 1, 3)
else
  millis = sub(millis + 1000000, 2, 4)
end

local last = #ARGV
local first, mode = 1, 's'
if last > 1 then
  first, mode = 2, ARGV[1]
end
local check = sub(ARGV[last], 1, 9)

if KEYS[3] then
  local known = call('GET', KEYS[3])
  if known then
    local e, o, c = string.match(known, '^(%w+) (%d+) (%w+)$')
    if not e then
      return redis.error_reply('WRONGTYPE this idempotency key was not written by this library')
    end
    -- A key outlives a log that is deleted, or replaced by an older one, and then its entry is not in this log.
    local offset = tonumber(o)
    if meta and e == sub(meta, 1, 8) and offset <= top then
      local record = call('LINDEX', KEYS[2], offset - top - 1) or ''
      local there, found = string.match(record, '^1 (%d+) %w+ %d+ (%w+) ')
      if there ~= o or found == c then -- it is too long ago to be in the list, or it is this one
        return {e, offset, c, 1, 1}
      end
    end
  end
end

if prev == check then
  -- The first attempt, held up somewhere, has come behind its own retry. It does not look back, which would cost every
  -- append; but this much is free, and on a channel that is not busy it is enough.
  return {sub(meta, 1, 8), top, sub(check, 1, 8), 1, 1}
end

if #mode > 1 then
  -- A retry. Entries are ordered by time, so whoever finds one older than the first attempt has seen all that could be
  -- it. The second on top is for a clock that was set back a little. One that was set forward meanwhile makes younger
  -- entries look old as well, which nothing here can tell from a quiet hour: so the newest sixteen, which cost one call,
  -- are looked at whatever their age.
  local since = (seconds .. millis) - sub(mode, 2) - 1000
  local length = meta and call('LLEN', KEYS[2]) or 0
  local proven, seen, chunk = false, 0, 16
  while not proven and seen < length do
    local entries = call('LRANGE', KEYS[2], -(seen + chunk), -(seen + 1))
    for i = #entries, 1, -1 do
      local offset, ms, found = string.match(entries[i], '^1 (%d+) %w+ (%d+) (%w+ )')
      if found == check then
        return {sub(meta, 1, 8), tonumber(offset), sub(check, 1, 8), 1, 1}
      end
      proven = proven or ms and tonumber(ms) < since
    end
    seen = seen + #entries
    chunk = 64
  end
  if not proven and length > 0 then
    -- the whole list is younger: that proves something only if nothing was trimmed and this life of the log is older
    proven = sub(call('LINDEX', KEYS[2], 0), 1, 4) == '1 1 ' and (sub(meta, 10, 19) + 1) * 1000 < since
  end
  if not proven and meta and length == 0 then
    -- nothing is kept, so each append says when it was, in the column `due`
    proven = (sub(meta, 21, 30) + 1) * 1000 < since
  end
  if not proven then
    return redis.error_reply('UNCERTAIN the log does not reach back to the first attempt')
  end
  mode = sub(mode, 1, 1)
end

if closed then
  return redis.error_reply('CLOSED the end of this channel is stored')
end
if not meta then
  prev, top = '0 ', 0
end

if mode == 'e' then
  local epoch = meta and sub(meta, 1, 9) or '0 '
  local lengths, records = {}, {}
  for i = first, last do
    local record = string.format('~ %d ', top) .. prev .. seconds .. millis .. ' ' .. ARGV[i]
    lengths[#lengths + 1] = #record
    records[#records + 1] = record
  end
  -- it cannot be read from the log, so it travels whole whatever its length
  local payload = records[1]
  if last > first or prev == '0 ' then
    payload = epoch .. string.format('%d ', top) .. table.concat(lengths, ' ') .. '\n' .. table.concat(records)
  end
  local announced = redis.pcall(PUBLISH, KEYS[1], payload)
  return {sub(epoch, 1, -2), top, sub(check, 1, 8), 0, type(announced) == 'table' and 0 or 1}
end

if not meta then
  -- a new life: what is left of an older one must not be taken for this one's
  call('DEL', KEYS[2])
  meta = sub(ARGV[first], 1, 9) .. seconds .. ' 0000000000 00000000 0'
end

local offset, payload, length
if last == first then
  offset = string.format('%d', top + 1)
  local record = '1 ' .. offset .. ' ' .. prev .. seconds .. millis .. ' ' .. ARGV[last]
  length = call('RPUSH', KEYS[2], record)
  if #record <= ANNOUNCE_BYTES then
    payload = prev ~= '0 ' and record or sub(meta, 1, 9) .. offset .. ' ' .. #record .. '\n' .. record
  end
else
  local records, lengths, total = {}, {}, 0
  for i = first, last do
    top = top + 1
    local record = string.format('1 %d ', top) .. prev .. seconds .. millis .. ' ' .. ARGV[i]
    prev = sub(ARGV[i], 1, 9)
    records[#records + 1] = record
    lengths[#lengths + 1] = #record
    total = total + #record
  end
  -- unpack is bounded by Lua's C stack (8,000 values)
  for i = 1, #records, 4000 do
    length = call('RPUSH', KEYS[2], unpack(records, i, math.min(i + 3999, #records)))
  end
  offset = string.format('%d', top)
  if total <= ANNOUNCE_BYTES then
    payload = sub(meta, 1, 9) .. offset .. ' ' .. table.concat(lengths, ' ') .. '\n' .. table.concat(records)
  end
end

local state = check .. offset
if mode == 'c' then
  state = state .. ' closed'
end
-- A list that has just been made has no expiry yet, whatever the meta says. What is due later than this retention would have
-- it was written under another one, or before the clock was set back.
local left = sub(meta, 21, 30) - seconds
if left <= 0 or left > RENEW_SECONDS or length == last - first + 1 or TRIM_AT == 0 then
  local due = TRIM_AT == 0 and seconds or seconds + RENEW_SECONDS
  call('SET', KEYS[1], sub(meta, 1, 20) .. due .. ' ' .. state, 'PX', META_MS)
  call('PEXPIRE', KEYS[2], LIST_MS)
else
  call('SETRANGE', KEYS[1], '31', state) -- it never becomes shorter, and keeps its expiry
end
if KEYS[3] then
  call('SET', KEYS[3], sub(meta, 1, 9) .. offset .. ' ' .. sub(check, 1, 8), 'PX', 300000)
end
if length > TRIM_AT then
  call('LTRIM', KEYS[2], KEEP, -1)
end

local announced = redis.pcall(PUBLISH, KEYS[1], payload or sub(meta, 1, 9) .. offset .. '\n')
if type(announced) == 'table' then
  return {sub(meta, 1, 8), tonumber(offset), sub(check, 1, 8), 0, 0}
end
return meta
