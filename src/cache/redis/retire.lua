-- A fetch is over, and its answer is not stored, but speaks against what is: coherence::retire.
-- KEYS: place. ARGV: own token, for how long that is remembered in ms, whom the answer speaks of or '', how many of those there may be;
-- where it was shown, and ends only what is older: when its fetch began in us, its version, its digest.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local moment = t[1] .. string.format('%06d', t[2])
local kept = tonumber(ARGV[2])
local place = read_place(KEYS[1], now)
release_place(place, ARGV[1])
if ARGV[5] then
  -- Who has the lease may have begun too early for their answer to be stored.
  if supersede_place(place, ARGV[5], ARGV[6], ARGV[7], moment, kept, now) then place.lease = NO_LEASE end
elseif ARGV[3] == '' then
  end_place(place, moment, kept, now)
else
  local own
  for i, denied in ipairs(place.denied) do
    if string.sub(denied, 1, 32) == ARGV[3] then own = i end
  end
  local till = now + kept
  if own then
    till = math.max(till, tonumber(string.sub(place.denied[own], 33)))
  elseif #place.denied < tonumber(ARGV[4]) then
    own = #place.denied + 1
  end
  if own then
    place.denied[own] = ARGV[3] .. string.format('%013d', till)
  else
    end_place(place, moment, kept, now)
    place.denied = { string.rep('0', 32) .. string.format('%013d', till) }
  end
end
write_place(KEYS[1], place, now)
return 1
