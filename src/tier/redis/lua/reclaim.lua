-- RECLAIM  KEYS data, ... ; ARGV number of the control clock
--
-- Removes what its writer began to load before that number: it is invalid, and nobody uses it any more. What has been written
-- since stays. Tells nobody, for nothing has changed that anybody may use.
local gone, n = 0, tonumber(ARGV[1])
for _, data in ipairs(KEYS) do
  local h = head(data)
  if h and string.byte(h, 4) ~= 2 and struct.unpack('<I8', h, 33) < n then
    redis.call('UNLINK', data)
    gone = gone + 1
  end
end
return gone
