-- CTL_LIFT  KEYS sequence, log, stamps ; ARGV newest number that the caller knows
--
-- Another server has taken over, which may not have all that was given: the control clock goes above all of it.
local last = redis.pcall('HGET', KEYS[3], '_last')
local s = math.max(next_number(KEYS[1], KEYS[2]), now_us(), (number(last) or 0) + 1, (number(ARGV[1]) or 0) + 1)
redis.call('SET', KEYS[1], text(s))
return text(s)
