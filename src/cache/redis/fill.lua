-- A fetch is over and its answer may be stored: coherence::fill, but for the epoch, under which readers look by themselves.
-- KEYS: state, place. ARGV: own token, the entry, for how long an older one may be on its way in ms, 'missing' where it says that
-- there is no session, or ''. The answer is 1 where it is stored.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local moment = t[1] .. string.format('%06d', t[2])
local state, entry = redis.call('GET', KEYS[1]), ARGV[2]
local place = read_place(KEYS[2], now)
local old = place.entry
local version, began = string.sub(entry, 66, 85), string.sub(entry, 86, 101)
-- With a mark there is no generation, also where the mark has run out.
local current = state and #state == 65 and string.sub(state, 1, 32) == string.sub(entry, 2, 33)
local stored = current
if stored and old ~= '' then
  local others = string.sub(old, 66, 85)
  if version ~= NO_VERSION and others ~= NO_VERSION and version ~= others and string.sub(old, 2, 65) == string.sub(entry, 2, 65) then
    stored = version > others
  else
    stored = began >= string.sub(old, 86, 101)
  end
end
stored = stored and began >= string.sub(place.watermark, 1, 16) and not knows_higher(place, version)
local kept, missing = tonumber(ARGV[3]), ARGV[4] == 'missing'
if stored then
  -- What is older must not come once this one is over.
  local latest = began
  if old ~= '' and string.sub(old, 86, 101) > latest then latest = string.sub(old, 86, 101) end
  if missing then
    bar_place(place, moment, kept, now)
  elseif version == NO_VERSION or tonumber(string.sub(entry, 115, 127)) < tonumber(string.sub(latest, 1, 13)) + kept then
    bar_place(place, latest, kept, now)
  end
  see_place(place, version, string.sub(entry, 160, 175), moment, kept, now)
  place.lease, place.entry = NO_LEASE, entry
else
  -- It is shown all the same to those who wait for it.
  release_place(place, ARGV[1])
  if missing then
    end_place(place, moment, kept, now)
  else
    supersede_place(place, began, version, string.sub(entry, 160, 175), moment, kept, now)
  end
end
write_place(KEYS[2], place, now)
return stored and 1 or 0
