-- Refuses a target for a while, and tells every process.
--
-- KEYS  1 revocations (zset: target -> until, ms)
-- ARGV  1 target   2 for so many ms, 0: no more   3 PUBLISH or SPUBLISH   4 the control channel   5 the message
-- Returns 1. The key expires with its last revocation.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if tonumber(ARGV[2]) > 0 then
  redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
else
  redis.call('ZREM', KEYS[1], ARGV[1])
end
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
if last[2] then
  redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', last[2]))
end
redis.call(ARGV[3], ARGV[4], ARGV[5])
return 1
