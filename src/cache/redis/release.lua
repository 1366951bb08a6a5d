-- Ends a fetch whose response has no effect on what is stored: coherence::release. KEYS: variant. ARGV: own token.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local variant = read_variant(KEYS[1], now)
release_variant(variant, ARGV[1])
write_variant(KEYS[1], variant, now)
return 1
