-- CTL_BUMP  KEYS sequence, log, stamps, rules ; ARGV channel, origin (8), length of the log, how, name, most tags, most
--           rules, newest number that the caller knows, layout, number of partitions
--
-- how: 't' a tag, 'r' a rule (the name is a pattern), 'c' clear.
-- {number, how, cleared}: how is 'b' where all tags were forgotten and the floor under them raised, 'x' where the oldest rule
-- became a clear at `cleared`.
local s = next_number(KEYS[1], KEYS[2])
-- A lost clock stays above every number that was given.
local floor = math.max(number(ARGV[8]) or 0, field('_last') or 0)
if s <= floor then
  s = floor + 1
  redis.call('SET', KEYS[1], text(s))
end
-- What was lost counts as bumped just before.
mend(s - 1)
put('_last', s)
redis.call('HSETNX', stamps, '_layout', ARGV[9])
redis.call('HSETNX', stamps, '_partitions', ARGV[10])

local how, name, cleared = ARGV[4], ARGV[5], nil
if how == 't' then
  put('t:' .. name, s)
  -- Beside the tags there are six fields at the most.
  if redis.call('HLEN', stamps) > tonumber(ARGV[6]) + 6 then
    local clear, rule = field('_clear'), field('_rmax')
    redis.call('UNLINK', stamps)
    redis.call('HSET', stamps, '_layout', ARGV[9], '_partitions', ARGV[10])
    put('_base', s)
    put('_clear', clear)
    put('_last', s)
    if rule then put('_rmax', rule) end
    how = 'b'
  end
elseif how == 'c' then
  clear_at(s)
  redis.call('UNLINK', rules)
  redis.call('HDEL', stamps, '_rmax')
else
  redis.call('ZADD', rules, text(s), name)
  put('_rmax', s)
  if redis.call('ZCARD', rules) > tonumber(ARGV[7]) then
    cleared = number(redis.call('ZPOPMIN', rules)[2]) or s
    clear_at(cleared)
    how = 'x'
  end
end
local body = ARGV[2] .. how .. named(name)
if cleared then body = body .. struct.pack('<I8', cleared) end
append(KEYS[2], ARGV[3], s, 'c', body)
redis.call('PUBLISH', ARGV[1], message('C', s, body))
return {text(s), how, cleared and text(cleared)}
