-- A write's outcome is known: coherence::end.
-- KEYS: state. ARGV: own token, the version in 20 digits, 'unchanged' or '', for how long the session counts as deleted in ms, how
-- long the state is kept in ms. The answer is 0 where others are in flight, 1 where answers may be stored again, 2 where in addition
-- the write's own mark was gone.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local none = string.rep('-', 32)
local state = redis.call('GET', KEYS[1])
local before, floor, deleted = none, string.rep('0', 20), 0
local keep, last, found, ran_out = '', 0, false, false
if state then
  floor, deleted = string.sub(state, 33, 52), tonumber(string.sub(state, 53, 65))
  if #state > 65 then before = string.sub(state, 1, 32) end
  for i = 66, #state, 29 do
    local deadline = tonumber(string.sub(state, i + 16, i + 28))
    if deadline <= now then
      ran_out = true
    elseif string.sub(state, i, i + 15) == ARGV[1] then
      found = true
    else
      keep = keep .. string.sub(state, i, i + 28)
      last = math.max(last, deadline)
    end
  end
end
if ran_out then before = none end
if ARGV[2] > floor then floor = ARGV[2] end
if tonumber(ARGV[4]) > 0 then deleted = math.max(deleted, now + ARGV[4]) end
local tail = floor .. string.format('%013d', deleted)
local kept = math.max(tonumber(ARGV[5]), deleted - now)
if keep ~= '' then
  redis.call('SET', KEYS[1], before .. tail .. keep, 'PX', math.max(kept, last - now))
  return 0
end
local generation = before
if generation == none or not found or ARGV[3] ~= 'unchanged' then
  generation = ARGV[1] .. t[1] .. string.format('%06d', t[2])
end
redis.call('SET', KEYS[1], generation .. tail, 'PX', kept)
return found and 1 or 2
