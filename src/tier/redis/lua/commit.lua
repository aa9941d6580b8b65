-- COMMIT  KEYS data, lease, sequence, log, staged ; ARGV token (16), ms to live, length, channel, key
--
-- What is staged becomes the value, if the lease is still the caller's. The payload does not pass through here.
-- 1 stored, 0 the lease was lost, -1 nothing was staged.
local l = redis.pcall('GET', KEYS[2])
if type(l) ~= 'string' or string.sub(l, 1, 16) ~= ARGV[1] then
  redis.call('UNLINK', KEYS[5])
  return 0
end
-- Without this a missing key would become a frame of zeros.
if redis.call('STRLEN', KEYS[5]) ~= tonumber(ARGV[3]) then
  redis.call('UNLINK', KEYS[5])
  return -1
end
redis.call('SETRANGE', KEYS[5], 16, struct.pack('<I8I8', newest_number(KEYS[3], KEYS[4]), now_ms()))
redis.call('PEXPIRE', KEYS[5], ARGV[2])
redis.call('UNLINK', KEYS[1])
redis.call('RENAME', KEYS[5], KEYS[1])
redis.call('DEL', KEYS[2])
if #l > 16 then lease_ended(ARGV[4], ARGV[5]) end
return 1
