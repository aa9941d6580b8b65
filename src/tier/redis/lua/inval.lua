-- INVAL  KEYS sequence, log, (data, lease)+ ; ARGV channel, origin (8), hold in ms, frame of the hold, length of the log, key+
--
-- Any number of keys of one partition under one number, which is the answer. A hold that lasts longer stays.
local s = next_number(KEYS[1], KEYS[2])
local hold = tonumber(ARGV[3])
local names = {}
for i = 1, (#KEYS - 2) / 2 do
  local data, lease = KEYS[1 + 2 * i], KEYS[2 + 2 * i]
  local left = hold_left(head(data), data)
  if not left or left < hold then
    if hold > 0 then redis.call('SET', data, ARGV[4], 'PX', ARGV[3]) else redis.call('UNLINK', data) end
  end
  redis.call('DEL', lease)
  names[i] = named(ARGV[5 + i])
end
local body = ARGV[2] .. table.concat(names)
append(KEYS[2], ARGV[5], s, 'i', body)
redis.call('PUBLISH', ARGV[1], message('I', s, body))
return text(s)
