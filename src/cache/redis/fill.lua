-- A fetch is over and its answer may be stored: coherence::fill, but for the epoch, under which readers look by themselves.
-- KEYS: state, place. ARGV: own token, the entry, for how long an older one may be on its way in ms, 'missing' where it says that
-- there is no session, or ''. The answer is 1 where it is stored, and otherwise 0 or the entry that is shown instead.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local moment = t[1] .. string.format('%06d', t[2])
local state, entry = redis.call('GET', KEYS[1]), ARGV[2]
local place = read_place(KEYS[2], now)
local old = place.entry
local version, began, digest = string.sub(entry, 66, 85), string.sub(entry, 86, 101), string.sub(entry, 160, 175)
local kept, missing = tonumber(ARGV[3]), ARGV[4] == 'missing'
-- With a mark there is no generation, also where the mark has run out.
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
stored = stored and began >= string.sub(place.watermark, 1, 16) and not knows_higher(place, version)
stored = stored and order_in(place, began, version, digest) ~= 'unclear'
-- The epoch may have ended by now, as a rule would see: here it need not be looked at. All who wait have found the
-- session's generation and the epoch's themselves, before a write that ended the epoch was acknowledged: to join a fetch,
-- or to wait for it, takes the same two. What is stored has the same two, and began no earlier than what they wait for.
-- So it does for each of them; who begins to read later finds another epoch, and is not shown it.
local function stands_in()
  if old == '' or missing or differ(version, string.sub(old, 66, 85)) or string.sub(old, 160, 175) == digest then return false end
  local usable = string.sub(old, 128, 159) == string.rep('0', 32) and #place.denied == 0
  usable = usable and tonumber(string.sub(old, 102, 114)) > now
  return usable and string.sub(old, 2, 65) == string.sub(entry, 2, 65) and string.sub(old, 86, 101) >= began
end
local instead = current and not stored and stands_in()
if stored then
  -- What is older must not come once this one is over.
  local latest = began
  if old ~= '' and string.sub(old, 86, 101) > latest then latest = string.sub(old, 86, 101) end
  if missing then
    bar_place(place, moment, kept, now)
  elseif version == NO_VERSION or tonumber(string.sub(entry, 115, 127)) < tonumber(string.sub(latest, 1, 13)) + kept then
    bar_place(place, latest, kept, now)
  end
  see_place(place, version, digest, moment, kept, now)
  place.lease, place.entry = NO_LEASE, entry
else
  -- It is shown to those who wait for it, or what is stored.
  release_place(place, ARGV[1])
  if missing then
    end_place(place, moment, kept, now)
  elseif not instead then
    supersede_place(place, began, version, digest, moment, kept, now)
  end
end
write_place(KEYS[2], place, now)
if instead then return old end
return stored and 1 or 0
