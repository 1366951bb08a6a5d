-- A fetch is over and its answer says nothing of what is stored: coherence::release. KEYS: place. ARGV: own token.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local place = read_place(KEYS[1], now)
release_place(place, ARGV[1])
write_place(KEYS[1], place, now)
return 1
