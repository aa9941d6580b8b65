-- CTL_READ  KEYS sequence, log, stamps, rules
--
-- {number, cleared, floor under the tags, {field, stamp, ...}, {pattern, number, ...}}, all of one moment. What was lost counts
-- as bumped now.
local s = newest_number(KEYS[1], KEYS[2])
mend(s)
return {
  text(s), text(field('_clear')), text(field('_base')),
  redis.call('HGETALL', stamps), redis.call('ZRANGE', rules, 0, -1, 'WITHSCORES'),
}
