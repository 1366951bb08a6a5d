-- Ends a fetch whose response is not stored but invalidates what is: coherence::retire. KEYS: variant. ARGV: own token;
-- how long that is remembered in ms; the denied credential or ''; the most denied credentials; and if the response was
-- shown and invalidates only older ones: the start of its fetch in us, its version, its digest.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local moment = t[1] .. string.format('%06d', t[2])
local kept = tonumber(ARGV[2])
local variant = read_variant(KEYS[1], now)
release_variant(variant, ARGV[1])
if ARGV[5] then
  -- The holder of the lease may have started too early for its response to be stored.
  if supersede_variant(variant, ARGV[5], ARGV[6], ARGV[7], moment, kept, now) then variant.lease = NO_LEASE end
elseif ARGV[3] == '' then
  end_variant(variant, moment, kept, now)
else
  local own
  for i, denied in ipairs(variant.denied) do
    if string.sub(denied, 1, 32) == ARGV[3] then own = i end
  end
  local till = now + kept
  if own then
    till = math.max(till, tonumber(string.sub(variant.denied[own], 33)))
  elseif #variant.denied < tonumber(ARGV[4]) then
    own = #variant.denied + 1
  end
  if own then
    variant.denied[own] = ARGV[3] .. string.format('%013d', till)
  else
    end_variant(variant, moment, kept, now)
    variant.denied = { string.rep('0', 32) .. string.format('%013d', till) }
  end
end
write_variant(KEYS[1], variant, now)
return 1
