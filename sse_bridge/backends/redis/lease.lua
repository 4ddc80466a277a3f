-- Takes a slot for one more stream of a user, if there is room or the oldest may be replaced.
--
-- KEYS  1 owners (zset: owner -> alive until, ms)   2 the user's leases (zset: lease -> since, µs)
-- ARGV  1 owner   2 lease (<owner>.<n>)   3 limit, 0: take it in any case   4 '1': replace the oldest
--       5 owners live for so many ms without a sign of life   6 leases expire after so many ms
--       7 PUBLISH or SPUBLISH   8 the control channel
-- Returns 1 if the lease is held now, else 0. Doing it twice is doing it once.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now + ARGV[5], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[6])

-- at most `limit` leases and those of the dead: what is looked at is bounded
for _, lease in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  local alive_until = redis.call('ZSCORE', KEYS[1], string.match(lease, '^[^.]*'))
  if not alive_until or tonumber(alive_until) < now then
    redis.call('ZREM', KEYS[2], lease)
  end
end
if not redis.call('ZSCORE', KEYS[2], ARGV[2]) then
  local limit = tonumber(ARGV[3])
  local surplus = redis.call('ZCARD', KEYS[2]) - limit + 1
  if limit > 0 and surplus > 0 then
    if ARGV[4] ~= '1' then
      return 0
    end
    for _, oldest in ipairs(redis.call('ZRANGE', KEYS[2], 0, surplus - 1)) do
      redis.call('ZREM', KEYS[2], oldest)
      redis.pcall(ARGV[7], ARGV[8], 'replaced ' .. oldest)
    end
  end
  redis.call('ZADD', KEYS[2], string.format('%.0f', time[1] * 1000000 + time[2]), ARGV[2])
end
redis.call('PEXPIRE', KEYS[2], ARGV[6])
return 1
