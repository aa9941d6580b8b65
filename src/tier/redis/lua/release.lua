-- RELEASE  KEYS lease ; ARGV token (16), channel, key
--
-- 0: it was not the caller's any more.
local l = redis.pcall('GET', KEYS[1])
if type(l) ~= 'string' or string.sub(l, 1, 16) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
if #l > 16 then lease_ended(ARGV[2], ARGV[3]) end
return 1
