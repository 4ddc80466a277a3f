-- Reads a range of one channel's log, or the head alone; gives a channel that has no meta one.
--
-- KEYS  1 meta   2 list
-- ARGV  1 epoch candidate   2 how long the meta lives, ms
--       3 epoch: read after the offset if the log still has this one, else from the oldest; empty: any
--       4 offset: entries after it; negative: the last so many   5 at most so many entries   6 stop beyond so many bytes
--
-- Returns {epoch, top, check of top, closed, first retained offset, start, more 0|1, {record, …}}: the records from offset
-- `start` on. At most one foreign record is among them, for the log; the client drops it.
--
-- Offsets have no holes, so an offset is an index, unless somebody else pushed to or cut the list. Every record carries
-- its offset: the index is verified and corrected, in a bounded number of steps.

local meta = redis.call('GET', KEYS[1])
if not meta then
  redis.call('DEL', KEYS[2])
  local time = redis.call('TIME')
  redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. time[1] .. ' 0000000000 00000000 0', 'PX', ARGV[2])
  return {ARGV[1], 0, '0', 0, 1, 1, 0, {}}
end
local epoch, check, top, ending = string.match(meta, '^(%w+) %d+ %d+ (%w+) (%d+)(.*)$')
if not epoch or (ending ~= '' and ending ~= ' closed') then
  return redis.error_reply('WRONGTYPE the meta of this channel was not written by this library')
end
local closed = ending == '' and 0 or 1
top = tonumber(top)
if top == 0 then
  check = '0'
end
if redis.call('PTTL', KEYS[1]) * 2 < tonumber(ARGV[2]) then
  -- a channel that is watched keeps its epoch, or its readers would be told of a loss that never was
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end

local function offset_at(index)
  local record = redis.call('LINDEX', KEYS[2], index)
  if not record then
    return nil, true
  end
  local offset = string.match(record, '^1 (%d+) ')
  return offset and tonumber(offset), false
end

-- the oldest entry; foreign records may stand before it
local first, first_index
for i = 0, 31 do
  local offset, ended = offset_at(i)
  if ended then
    break
  end
  if offset then
    first, first_index = offset, i
    break
  end
end
if not first then
  return {epoch, top, check, closed, top + 1, top + 1, 0, {}}
end

local limit = tonumber(ARGV[5])
local wanted = tonumber(ARGV[4])
if ARGV[3] ~= '' and ARGV[3] ~= epoch then
  wanted = first
elseif wanted < 0 then
  wanted = top + wanted + 1
else
  wanted = wanted + 1
end
if wanted < first then
  wanted = first
end
if limit < 1 then
  return {epoch, top, check, closed, first, top + 1, 0, {}}
elseif wanted > top then
  return {epoch, top, check, closed, first, wanted, 0, {}}
end

local index = first_index + wanted - first
for _ = 1, 32 do
  local offset, ended = offset_at(index)
  if ended then
    index = index - 1  -- the list is shorter than the meta says
  elseif not offset then
    index = index + 1  -- a foreign record
  elseif offset == wanted then
    break
  else
    index = index + wanted - offset
  end
  if index < first_index then
    index = first_index
    break
  end
end

local max_bytes = tonumber(ARGV[6])
local records, found, foreign, bytes, step, scanned = {}, 0, false, 0, 16, 0
while found < limit and bytes <= max_bytes and scanned - found < 4096 do
  local part = redis.call('LRANGE', KEYS[2], index, index + step - 1)
  if #part == 0 then
    break
  end
  for i = 1, #part do
    index = index + 1
    if string.find(part[i], '^1 %d+ ') then
      records[#records + 1] = part[i]
      found = found + 1
      bytes = bytes + #part[i]
      if found == limit or bytes > max_bytes then
        break
      end
    elseif not foreign then
      foreign = true
      records[#records + 1] = string.sub(part[i], 1, 200)
    end
  end
  scanned = scanned + #part
  -- as many more as will probably fit, so that large entries are not loaded in vain
  step = math.min(256, limit - found, math.floor((max_bytes - bytes) * found / (bytes + 1)))
  step = math.max(16, step)
end
local more = redis.call('LLEN', KEYS[2]) > index and 1 or 0
return {epoch, top, check, closed, first, wanted, more, records}
