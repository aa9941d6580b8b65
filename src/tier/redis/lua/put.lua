-- PUT  KEYS sequence, log, data, lease, staged ; ARGV channel, origin (8), ms to live, length, length of the log, key,
-- 1 if nobody is told
--
-- {1, number} stored; {2, number} a hold stands, nothing is stored, and all are told; {-1} nothing was staged.
if redis.call('STRLEN', KEYS[5]) ~= tonumber(ARGV[4]) then
  redis.call('UNLINK', KEYS[5])
  return {-1}
end
local number = ARGV[7] == '1' and newest_number or next_number
local s, stored = number(KEYS[1], KEYS[2]), 1
if hold_left(head(KEYS[3]), KEYS[3]) then
  stored = 2
  redis.call('UNLINK', KEYS[5])
else
  redis.call('SETRANGE', KEYS[5], 16, struct.pack('<I8I8', s, now_ms()))
  redis.call('PEXPIRE', KEYS[5], ARGV[3])
  redis.call('UNLINK', KEYS[3])
  redis.call('RENAME', KEYS[5], KEYS[3])
end
redis.call('DEL', KEYS[4])
if ARGV[7] ~= '1' then
  local body = ARGV[2] .. named(ARGV[6])
  append(KEYS[2], ARGV[5], s, 'p', body)
  redis.call('PUBLISH', ARGV[1], message('P', s, body))
end
return {stored, text(s)}
