#!lua
-- Whether a session counts as deleted: coherence::State::is_deleted. KEYS: state. The answer is 1 or 0.
-- With the line at the top a server that takes no writes refuses it, as it does `acquire`: it may not know of the last deletions.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local state = redis.call('GET', KEYS[1])
return state and tonumber(string.sub(state, 53, 65)) > now and 1 or 0
