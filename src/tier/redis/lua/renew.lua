-- RENEW  KEYS lease ; ARGV token (16), lease in ms
--
-- 0: the lease is lost.
local l = redis.pcall('GET', KEYS[1])
if type(l) ~= 'string' or string.sub(l, 1, 16) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
