-- Reads a range of one channel's log, or the head alone. Whoever reads leaves nothing behind: a channel without meta has epoch 0.
--
-- KEYS  1 meta   2 list
-- ARGV  1 how long the meta lives, ms
--       2 epoch: read after the offset if the log still has this one, else from the oldest; empty: any
--       3 offset: entries after it; negative: the last so many   4 at most so many entries   5 stop beyond so many bytes
--
-- Returns {epoch, top, check of top, closed, first retained offset, start, more 0|1, {record, …}}: the records from offset
-- `start` on. At most one foreign record is among them, for the log; the client drops it.
--
-- Offsets have no holes, so an offset is an index, unless somebody else pushed to or cut the list. Every record carries
-- its offset: the index is verified, and looked for by halving where it does not fit. Behind 1,024 foreign records what
-- follows may not be found; then the page says less than the log holds, and the reader is told of a gap.

local meta = redis.call('GET', KEYS[1])
if not meta then
  return {'0', 0, '0', 0, 1, 1, 0, {}}
end
local epoch, check, top, ending = string.match(meta, '^(%w+) %d+ %d+ (%w+) (%d+)(.*)$')
if not epoch or (ending ~= '' and ending ~= ' closed') then
  return redis.error_reply('WRONGTYPE the meta of this channel was not written by this library')
end
local closed = ending == '' and 0 or 1
top = tonumber(top)
if redis.call('PTTL', KEYS[1]) * 2 < tonumber(ARGV[1]) then
  -- a channel that is watched keeps its epoch, or its readers would be told of a loss that never was
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end

-- The offset at an index of the list; nil for a foreign record, and `ended` behind the last one.
local function offset_at(index)
  local record = redis.call('LINDEX', KEYS[2], index)
  if not record then
    return nil, true
  end
  local offset = string.match(record, '^1 (%d+) ')
  return offset and tonumber(offset), false
end

-- The first offset from an index on, before `stop`, and its index; `looks` bounds all steps over foreign records together.
local looks = 1024
local function own_from(index, stop)
  while index < stop and looks > 0 do
    looks = looks - 1
    local offset, ended = offset_at(index)
    if offset or ended then
      return offset, index
    end
    index = index + 1
  end
  return nil, index
end

-- the oldest entry; foreign records may stand before it
local first, first_index = own_from(0, 1024)
if not first then
  return {epoch, top, check, closed, top + 1, top + 1, 0, {}}
end

local limit = tonumber(ARGV[4])
local wanted = tonumber(ARGV[3])
if ARGV[2] ~= '' and ARGV[2] ~= epoch then
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
if offset_at(index) ~= wanted then
  -- Somebody pushed to the list or cut it: offsets still rise along it, so halving finds the first from `wanted` on.
  local low, high = first_index, redis.call('LLEN', KEYS[2])
  while low < high do
    local middle = math.floor((low + high) / 2)
    local offset, found_at = own_from(middle, high)
    if offset and offset < wanted then
      low = found_at + 1
    else
      high = middle -- what lies between is foreign, or no look was left for it
    end
  end
  index = low
end

local max_bytes = tonumber(ARGV[5])
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
