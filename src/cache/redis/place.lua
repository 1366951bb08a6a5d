-- How a place is written: 93 characters of its lease (two generations, 16 of the reader's token, 13 of its end), 29 of its watermark
-- (16 digits of us, 13 of its end), 65 of the newest response that was shown (20 of its version, 16 of its digest, 16 digits of us when
-- it was known, 13 of its end), 2 of how many it is denied to, 45 for each of those (32 for whom, 13 of its end), and the entry. What is over is not there. Like coherence::Place.
local NO_LEASE, NO_WATERMARK, NO_NEWEST = string.rep('0', 93), string.rep('0', 29), string.rep('0', 65)
local NO_VERSION = string.rep('0', 20)
local function read_place(key, now)
  local text = redis.call('GET', key)
  local place = { lease = NO_LEASE, watermark = NO_WATERMARK, newest = NO_NEWEST, denied = {}, entry = '' }
  if not text then return place end
  if tonumber(string.sub(text, 81, 93)) > now then place.lease = string.sub(text, 1, 93) end
  if tonumber(string.sub(text, 110, 122)) > now then place.watermark = string.sub(text, 94, 122) end
  if tonumber(string.sub(text, 175, 187)) > now then place.newest = string.sub(text, 123, 187) end
  local entry = 190 + 45 * tonumber(string.sub(text, 188, 189))
  for i = 190, entry - 1, 45 do
    if tonumber(string.sub(text, i + 32, i + 44)) > now then place.denied[#place.denied + 1] = string.sub(text, i, i + 44) end
  end
  if #text > entry and tonumber(string.sub(text, entry + 114, entry + 126)) > now then place.entry = string.sub(text, entry) end
  return place
end
local function write_place(key, place, now)
  local last = math.max(tonumber(string.sub(place.lease, 81)), tonumber(string.sub(place.watermark, 17)))
  last = math.max(last, tonumber(string.sub(place.newest, 53)))
  for _, denied in ipairs(place.denied) do last = math.max(last, tonumber(string.sub(denied, 33))) end
  if place.entry ~= '' then last = math.max(last, tonumber(string.sub(place.entry, 115, 127))) end
  if last <= now then
    redis.call('DEL', key)
    return
  end
  local head = place.lease .. place.watermark .. place.newest .. string.format('%02d', #place.denied)
  redis.call('SET', key, head .. table.concat(place.denied) .. place.entry, 'PX', last - now)
end
-- The reader's own lease ends.
local function release_place(place, reader)
  if string.sub(place.lease, 65, 80) == reader then place.lease = NO_LEASE end
end
-- Keeps away what began before.
local function bar_place(place, began, kept, now)
  local latest = math.max(tonumber(string.sub(place.watermark, 17)), now + kept)
  local newest = string.sub(place.watermark, 1, 16)
  if began > newest then newest = began end
  place.watermark = newest .. string.format('%013d', latest)
end
-- Drops what is stored, and keeps away what was not by now. Nobody is to wait for that any longer.
local function end_place(place, moment, kept, now)
  place.lease, place.entry = NO_LEASE, ''
  bar_place(place, moment, kept, now)
end
-- Whether a higher version was shown.
local function knows_higher(place, version)
  return version ~= NO_VERSION and version < string.sub(place.newest, 1, 20)
end
-- Remembers what is shown, unless a higher version was.
local function see_place(place, version, digest, moment, kept, now)
  if knows_higher(place, version) then return end
  local latest = math.max(tonumber(string.sub(place.newest, 53)), now + kept)
  local before = string.sub(place.newest, 1, 20)
  if version < before then version = before end
  place.newest = version .. digest .. moment .. string.format('%013d', latest)
end
-- Whether two versions say which response is newer.
local function differ(one, other)
  return one ~= NO_VERSION and other ~= NO_VERSION and one ~= other
end
-- How a response compares to the newest that is known: 'older', 'same', 'newer', 'unclear'.
local function order_in(place, began, version, digest)
  local known, same, at
  if place.newest ~= NO_NEWEST then
    known, same, at = string.sub(place.newest, 1, 20), string.sub(place.newest, 21, 36), string.sub(place.newest, 37, 52)
  elseif place.entry ~= '' then
    known, same, at = string.sub(place.entry, 66, 85), string.sub(place.entry, 160, 175), string.sub(place.entry, 86, 101)
  else
    return 'newer'
  end
  if differ(known, version) then return version < known and 'older' or 'newer' end
  if digest == same then return 'same' end
  return began < at and 'unclear' or 'newer'
end
-- Drops what is older than a response that was shown, or may be, and keeps away what began before that did, or before it was known.
-- Whether there was anything to do.
local function supersede_place(place, began, version, digest, moment, kept, now)
  local order = order_in(place, began, version, digest)
  if order == 'older' then return false end
  if order == 'same' then
    -- What began before may have seen the session between the two.
    see_place(place, version, digest, moment, kept, now)
    return false
  end
  if order == 'unclear' or began > moment then began = moment end
  place.entry = ''
  bar_place(place, began, kept, now)
  see_place(place, version, digest, moment, kept, now)
  return true
end
