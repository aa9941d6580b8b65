-- LEASE  KEYS data, lease ; ARGV token (16), lease in ms, write id that the caller does not want (8) or '', most inline
--
-- Only acquires: a lease that was taken away is not given back by asking again.
-- {'V', frame, ms left} there is a value; without a frame it is larger than what is handed out here
-- {'H', ms}             a hold stands, or what lies under the lease's name is not ours: nothing is to be stored
-- {'L'}                 granted
-- {'W', ms}             somebody else has it, and will wake the channel
local h = head(KEYS[1])
if h and string.byte(h, 4) == 2 then
  local left = hold_left(h, KEYS[1])
  if left then return {'H', left} end
elseif h and string.sub(h, 9, 16) ~= ARGV[3] then
  if redis.call('STRLEN', KEYS[1]) > tonumber(ARGV[4]) then return {'V'} end
  return {'V', redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])}
end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return {'L'} end
local left = redis.call('PTTL', KEYS[2])
if left < 0 or failed(redis.pcall('SETRANGE', KEYS[2], 16, '\1')) then return {'H', 0} end
return {'W', left}
