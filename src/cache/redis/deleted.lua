-- Whether a session counts as deleted for a tenant: coherence::CoherenceState::deletion_state. KEYS: state, tenants. ARGV: the
-- tenant; when the upstream was last purged. The reply is 1 or 0. With `#!lua` in front, a server that rejects writes
-- rejects this script, as it does `acquire`: it may lack the last deletions.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local state = redis.call('GET', KEYS[1])
local shared = state and string.sub(state, 53, 65) or string.rep('0', 13)
if not KEYS[2] then return tonumber(shared) > now and 1 or 0 end
local gone = shown_to(KEYS[2], ARGV[1], ARGV[2], shared, '', now)
return gone == 'X' and 1 or 0
