#!lua
-- Begins a write: coherence::begin. KEYS: state. ARGV: own token; guard in ms; the most marks of others; 'refuse' or
-- 'crowd' beyond that; TTL of the state in ms. The reply is 1, or 0 if there are too many marks.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local none = string.rep('-', 32)
local state = redis.call('GET', KEYS[1])
local own, deadline = ARGV[1], now + ARGV[2]
local before, tail = none, string.rep('0', 33)
local marks, others, ran_out = {}, 0, false
if state then
  before, tail = string.sub(state, 1, 32), string.sub(state, 33, 65)
  for i = 66, #state, 29 do
    if tonumber(string.sub(state, i + 16, i + 28)) > now then
      marks[#marks + 1] = string.sub(state, i, i + 28)
      if string.sub(state, i, i + 15) ~= own then others = others + 1 end
    else
      ran_out = true
    end
  end
end
if others >= tonumber(ARGV[3]) then
  if ARGV[4] == 'refuse' then return 0 end
  own = string.rep('0', 16)
end
local keep, last = '', 0
for _, mark in ipairs(marks) do
  local stands = tonumber(string.sub(mark, 17, 29))
  if string.sub(mark, 1, 16) == own then
    deadline = math.max(deadline, stands)
  else
    keep, last = keep .. mark, math.max(last, stands)
  end
end
-- With another write in flight the outcome is uncertain.
if keep ~= '' or ran_out then before = none end
last = math.max(last, deadline)
keep = keep .. own .. string.format('%013d', deadline)
redis.call('SET', KEYS[1], before .. tail .. keep, 'PX', math.max(last - now, tonumber(ARGV[5])))
return 1
