-- Stores record version and retention at the first use of a prefix; returns what is stored.
--
-- KEYS  1 retention   ARGV  1 record version   2 replay_size   3 replay_seconds   4 '1': adopt, store nothing
-- Returns {version, replay_size, replay_seconds}.

if ARGV[4] == '1' and redis.call('EXISTS', KEYS[1]) == 0 then
  return {ARGV[1], ARGV[2], ARGV[3]} -- whoever comes with a mind of its own decides
end
if redis.call('HSETNX', KEYS[1], 'version', ARGV[1]) == 1 then
  redis.call('HSET', KEYS[1], 'replay_size', ARGV[2], 'replay_seconds', ARGV[3])
end
return redis.call('HMGET', KEYS[1], 'version', 'replay_size', 'replay_seconds')
