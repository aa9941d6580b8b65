-- What the scripts on the control clock share; their third key are the stamps, their fourth the rules.
--
-- Beside the stamps of the tags, 't:<tag>', the hash has
-- _base   what a tag without a stamp was last bumped at      _clear   what everything was last cleared at; never falls
-- _last   the newest number given                            _rmax    the newest rule
-- _layout and _partitions, which are not for these scripts to judge
local stamps, rules = KEYS[3], KEYS[4]
local function foreign(key, kind)
  local is = redis.call('TYPE', key).ok
  return is ~= kind and is ~= 'none'
end
if foreign(stamps, 'hash') then redis.call('UNLINK', stamps) end
if foreign(rules, 'zset') then redis.call('UNLINK', rules) end
local function field(name) return number(redis.call('HGET', stamps, name)) end
local function put(name, n) redis.call('HSET', stamps, name, text(n)) end
local function clear_at(n) if n > field('_clear') then put('_clear', n) end end

-- What was lost of it counts as bumped at `n`.
local function mend(n)
  if not field('_base') then put('_base', n) end
  if not field('_clear') then put('_clear', n) end
  local newest = field('_rmax')
  if newest and redis.call('EXISTS', rules) == 0 then
    clear_at(newest)
    redis.call('HDEL', stamps, '_rmax')
  end
end

