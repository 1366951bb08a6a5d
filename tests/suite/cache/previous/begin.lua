-- A write begins: coherence::begin.
-- KEYS: state. ARGV: own token, guard in ms, the most marks, 'refuse' or 'crowd' beyond them, how long the state is kept in ms.
-- The answer is 1, or 0 where there are too many.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local none = string.rep('-', 32)
local state = redis.call('GET', KEYS[1])
local own = ARGV[1]
local before, tail = none, string.rep('0', 33)
local marks, last = {}, now + ARGV[2]
if state then
  tail = string.sub(state, 33, 65)
  if #state == 65 then before = string.sub(state, 1, 32) end
  for i = 66, #state, 29 do
    local deadline = tonumber(string.sub(state, i + 16, i + 28))
    if deadline > now and string.sub(state, i, i + 15) ~= own then
      marks[#marks + 1] = string.sub(state, i, i + 28)
      last = math.max(last, deadline)
    end
  end
end
if #marks >= tonumber(ARGV[3]) then
  if ARGV[4] == 'refuse' then return 0 end
  own = string.rep('0', 16)
  for i = #marks, 1, -1 do
    if string.sub(marks[i], 1, 16) == own then table.remove(marks, i) end
  end
end
-- Beside another write nothing is certain any more.
if #marks > 0 then before = none end
marks[#marks + 1] = own .. string.format('%013d', now + ARGV[2])
redis.call('SET', KEYS[1], before .. tail .. table.concat(marks), 'PX', math.max(last - now, tonumber(ARGV[5])))
return 1
