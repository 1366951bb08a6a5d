-- The generation of an epoch, minted where there is none: what coherence::acquire does with an epoch.
-- KEYS: state. ARGV: own token, how long a new generation is kept in ms. The answer is the generation, or 'W' where it is marked.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local state = redis.call('GET', KEYS[1])
if state then
  for i = 66, #state, 29 do
    if tonumber(string.sub(state, i + 16, i + 28)) > now then return 'W' end
  end
  if #state == 65 then return string.sub(state, 1, 32) end
end
local generation = ARGV[1] .. t[1] .. string.format('%06d', t[2])
redis.call('SET', KEYS[1], generation .. string.rep('0', 33), 'PX', ARGV[2])
return generation
