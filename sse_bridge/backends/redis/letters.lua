-- The box of dead letters: one list per prefix, bounded, that expires some time after the last letter.
--
-- KEYS  1 the list
-- ARGV  put <max> <ms> <letter> …   |   look <limit>   |   remove <letter> …
-- Returns letters for look, else nothing.

local key, word = KEYS[1], ARGV[1]
if word == 'look' then
  return redis.call('LRANGE', key, 0, ARGV[2] - 1)
end
if word == 'remove' then
  for i = 2, #ARGV do
    redis.call('LREM', key, 0, ARGV[i])
  end
  return {}
end
for i = 4, #ARGV do
  redis.call('RPUSH', key, ARGV[i])
end
if tonumber(ARGV[2]) > 0 then
  redis.call('LTRIM', key, -ARGV[2], -1)
else
  redis.call('DEL', key)
end
redis.call('PEXPIRE', key, ARGV[3])
return {}
