-- What the scripts share; each is sent with this before it.
--
-- Scripts do not roll back. So what can fail stands before the first change or fails quietly, and a key of ours that
-- somebody has filled with something else is taken for lost.

-- Whole numbers are exact below this. `..` would print 1.79e+15.
local EXACT = 9e15
local function text(n) return string.format('%.0f', n) end

local function failed(r) return type(r) == 'table' and r.err ~= nil end

-- A whole number, or nothing.
local function number(r)
  local n = type(r) == 'string' and tonumber(r)
  if n and n >= 0 and n <= EXACT then return n end
end

local function now_us()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000000 + tonumber(t[2])
end

local function now_ms() return math.floor(now_us() / 1000) end

-- The next number of a sequence. A lost one begins again above the server's time in microseconds and above the last number
-- of the log, so that none is given twice.
local function next_number(sequence, log)
  local s = redis.pcall('INCR', sequence)
  if failed(s) then
    if string.find(s.err, 'WRONGTYPE', 1, true) or string.find(s.err, 'not an integer', 1, true)
      or string.find(s.err, 'overflow', 1, true) then
      redis.call('UNLINK', sequence)
    end
    s = redis.call('INCR', sequence)
  end
  if s < 1e12 or s > EXACT then
    s = now_us()
    local entry = redis.pcall('XREVRANGE', log, '+', '-', 'COUNT', 1)
    if not failed(entry) and entry[1] then
      local last = number(string.match(entry[1][1], '^(%d+)'))
      if last and last >= s then s = last + 1 end
    end
    redis.call('SET', sequence, text(s))
  end
  return s
end

-- The newest number of a sequence.
local function newest_number(sequence, log)
  local s = number(redis.pcall('GET', sequence))
  if s and s >= 1e12 then return s end
  return next_number(sequence, log)
end

-- Appends to a log. Where that cannot be, readers see a gap in the numbers.
local function append(log, most, s, field, value)
  if failed(redis.pcall('XADD', log, 'MAXLEN', '~', most, text(s) .. '-1', field, value)) then
    redis.pcall('UNLINK', log)
    redis.pcall('XADD', log, 'MAXLEN', '~', most, text(s) .. '-1', field, value)
  end
end

-- The head of a frame, or nothing.
local function head(data)
  local h = redis.pcall('GETRANGE', data, 0, 63)
  if type(h) == 'string' and #h == 64 and string.sub(h, 1, 3) == 'TC\1' then return h end
end

-- For how long a head is that of a hold, in milliseconds, or nothing. A hold always ends.
local function hold_left(h, data)
  if h and string.byte(h, 4) == 2 then
    local left = redis.call('PTTL', data)
    if left > 0 then return left end
  end
end

-- A message of the channel, or the body of one behind its origin.
local function message(kind, s, body) return kind .. struct.pack('<I8', s) .. body end
local function named(key) return struct.pack('<I4', #key) .. key end
local function lease_ended(channel, key) redis.call('PUBLISH', channel, message('F', 0, struct.pack('<I8', 0) .. key)) end
