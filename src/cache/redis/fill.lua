-- Ends a fetch whose response may be stored: coherence::fill without the epoch, which reads check themselves. KEYS:
-- state, variant. ARGV: own token; the entry; how long an older response may be in flight in ms; 'missing' if the
-- response says that there is no session, or ''. The reply is 1 if it was stored, and otherwise 0 or the entry to show
-- instead.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local moment = t[1] .. string.format('%06d', t[2])
local state, entry = redis.call('GET', KEYS[1]), ARGV[2]
local variant = read_variant(KEYS[2], now)
local old = variant.entry
local version, began, digest = string.sub(entry, 66, 85), string.sub(entry, 86, 101), string.sub(entry, 160, 175)
local kept, missing = tonumber(ARGV[3]), ARGV[4] == 'missing'
-- There is no generation with a mark, even if it has expired.
local current = state and #state == 65 and string.sub(state, 1, 32) == string.sub(entry, 2, 33)
local stored = current
if stored and old ~= '' then
  local others = string.sub(old, 66, 85)
  if differ(version, others) and string.sub(old, 2, 65) == string.sub(entry, 2, 65) then
    stored = version > others
  else
    stored = began >= string.sub(old, 86, 101)
  end
end
stored = stored and began >= string.sub(variant.watermark, 1, 16) and not knows_higher(variant, version)
stored = stored and order_in(variant, began, version, digest) ~= 'unclear'
-- The epoch may have changed by now, but it need not be checked. All reads that wait have found the generations of
-- session and epoch themselves, before a write that changed the epoch was acknowledged: joining a fetch, or waiting for
-- it, takes the same two. The stored entry has the same two and its fetch started no earlier than what they wait for,
-- so it suits each of them. Later reads find another epoch and are not shown it.
local function stands_in()
  if old == '' or missing or differ(version, string.sub(old, 66, 85)) or string.sub(old, 160, 175) == digest then return false end
  local usable = string.sub(old, 128, 159) == string.rep('0', 32) and #variant.denied == 0
  usable = usable and tonumber(string.sub(old, 102, 114)) > now
  return usable and string.sub(old, 2, 65) == string.sub(entry, 2, 65) and string.sub(old, 86, 101) >= began
end
local instead = current and not stored and stands_in()
if stored then
  -- Nothing older may be shown after this one expires.
  local latest = began
  if old ~= '' and string.sub(old, 86, 101) > latest then latest = string.sub(old, 86, 101) end
  if missing then
    bar_variant(variant, moment, kept, now)
  elseif version == NO_VERSION or tonumber(string.sub(entry, 115, 127)) < tonumber(string.sub(latest, 1, 13)) + kept then
    bar_variant(variant, latest, kept, now)
  end
  see_variant(variant, version, digest, moment, kept, now)
  variant.lease, variant.entry = NO_LEASE, entry
else
  -- Those who wait receive it, or the stored entry.
  release_variant(variant, ARGV[1])
  if missing then
    end_variant(variant, moment, kept, now)
  elseif not instead then
    supersede_variant(variant, began, version, digest, moment, kept, now)
  end
end
write_variant(KEYS[2], variant, now)
if instead then return old end
return stored and 1 or 0
