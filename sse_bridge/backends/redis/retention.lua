-- The layout and the retention of a prefix: stored at the first use, raised by a generation when they change.
--
-- KEYS  1 retention (hash: version, replay_size, replay_seconds, generation, changed)
-- ARGV  1 layout version   2 replay_size   3 replay_seconds   4 the generation that the caller has seen, 0: none yet
--       5 keep: store where nothing is stored; update: and raise what is older than the caller's settings and differs;
--         set: raise in any case; adopt and show: store nothing   6 the caller's settings were made so many ms ago
--
-- A stored generation below the caller's was brought back by a failover, or begun anew after a loss: what the caller has
-- seen is stored again, so that of two processes the one with the higher generation rules.
--
-- Returns {version, replay_size, replay_seconds, generation, changed (ms since 1970, 0: never)}; nothing where nothing is
-- stored.

local key, version, size, seconds, seen, mode = KEYS[1], ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local stored = redis.call('HMGET', key, 'version', 'replay_size', 'replay_seconds', 'generation', 'changed')
if stored[1] and stored[1] ~= version then
  return stored -- of another version of the library, which alone knows what it means
end
local reads = mode == 'adopt' or mode == 'show'
if reads and not stored[1] then
  return {}
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local generation = tonumber(stored[4] or 0)
local raised = generation
if mode == 'set' then
  raised = math.max(generation, seen) + 1
elseif not reads and generation < seen then
  raised = seen
elseif not reads and not stored[1] then
  raised = 1
elseif mode == 'update' and seen == 0 then
  local differs = tonumber(stored[2]) ~= tonumber(size) or tonumber(stored[3]) ~= tonumber(seconds)
  -- a process of before a deploy, whose first use comes after it, must not take the change back
  if differs and tonumber(stored[5]) <= now - ARGV[6] then
    raised = generation + 1
  end
end
if raised > generation then
  local changed = mode == 'keep' and seen == 0 and 0 or now -- values of a first use were nobody's decision to change
  stored = {version, size, seconds, string.format('%d', raised), string.format('%.0f', changed)}
  redis.call('HSET', key, 'version', version, 'replay_size', size, 'replay_seconds', seconds, 'generation', stored[4],
    'changed', stored[5])
end
return stored
