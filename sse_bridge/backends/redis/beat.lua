-- An owner's sign of life, and the leases that it gives back.
--
-- KEYS  1 owners (zset: owner -> alive until, ms)   2 … the leases of a user, one key per lease in ARGV
-- ARGV  1 owner   2 owners live for so many ms   3 the owners' key expires after so many ms   4 … leases
-- Returns 1 if the owner was known to live, else 0: its leases may have been taken away.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local alive_until = redis.call('ZSCORE', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
for i = 2, #KEYS do
  redis.pcall('ZREM', KEYS[i], ARGV[i + 2]) -- a key of another type is that user's trouble alone
end
return alive_until and tonumber(alive_until) >= now and 1 or 0
