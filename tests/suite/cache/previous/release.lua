-- A fetch is over and its answer may not be stored: coherence::release. KEYS: place, refresh (or none). ARGV: own token.
local place = redis.call('GET', KEYS[1])
if place and string.byte(place) == 76 and string.sub(place, 66, 81) == ARGV[1] then redis.call('DEL', KEYS[1]) end
local refresh = KEYS[2] and redis.call('GET', KEYS[2])
if refresh and string.sub(refresh, 65, 80) == ARGV[1] then redis.call('DEL', KEYS[2]) end
return 1
