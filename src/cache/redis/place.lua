-- How a place is written: 93 characters of its lease (two generations, 16 of the reader's token, 13 of its end), 29 of its watermark
-- (16 digits of us, 13 of its end), 33 of the newest version (20 digits, 13 of its end), 2 of how many it is denied to, 45 for each of
-- those (32 for whom, 13 of its end), and the entry. What is over is not there. Like coherence::Place.
local NO_LEASE, NO_WATERMARK, NO_NEWEST = string.rep('0', 93), string.rep('0', 29), string.rep('0', 33)
local NO_VERSION = string.rep('0', 20)
local function read_place(key, now)
  local text = redis.call('GET', key)
  local place = { lease = NO_LEASE, watermark = NO_WATERMARK, newest = NO_NEWEST, denied = {}, entry = '' }
  if not text then return place end
  if tonumber(string.sub(text, 81, 93)) > now then place.lease = string.sub(text, 1, 93) end
  if tonumber(string.sub(text, 110, 122)) > now then place.watermark = string.sub(text, 94, 122) end
  if tonumber(string.sub(text, 143, 155)) > now then place.newest = string.sub(text, 123, 155) end
  local entry = 158 + 45 * tonumber(string.sub(text, 156, 157))
  for i = 158, entry - 1, 45 do
    if tonumber(string.sub(text, i + 32, i + 44)) > now then place.denied[#place.denied + 1] = string.sub(text, i, i + 44) end
  end
  if #text > entry and tonumber(string.sub(text, entry + 114, entry + 126)) > now then place.entry = string.sub(text, entry) end
  return place
end
local function write_place(key, place, now)
  local last = math.max(tonumber(string.sub(place.lease, 81)), tonumber(string.sub(place.watermark, 17)))
  last = math.max(last, tonumber(string.sub(place.newest, 21)))
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
-- Keeps away lower versions, unless a higher one was shown.
local function raise_place(place, version, kept, now)
  if version == NO_VERSION or knows_higher(place, version) then return end
  local latest = now + kept
  if string.sub(place.newest, 1, 20) == version then latest = math.max(latest, tonumber(string.sub(place.newest, 21))) end
  place.newest = version .. string.format('%013d', latest)
end
-- Drops what is older than a response that was shown, and keeps away what began before that did. Whether there was anything to do.
local function supersede_place(place, began, version, digest, moment, kept, now)
  local entry = place.entry
  if entry ~= '' then
    local others = string.sub(entry, 66, 85)
    if version ~= NO_VERSION and others ~= NO_VERSION and version ~= others then
      if others > version then return false end
    elseif string.sub(entry, 86, 101) >= began or string.sub(entry, 160, 175) == digest then
      return false
    end
  end
  if began > moment then began = moment end
  local raised = version <= string.sub(place.newest, 1, 20)
  local barred = began <= string.sub(place.watermark, 1, 16)
  if entry == '' and (knows_higher(place, version) or (raised and barred)) then return false end
  place.entry = ''
  bar_place(place, began, kept, now)
  raise_place(place, version, kept, now)
  return true
end
