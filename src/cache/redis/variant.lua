-- Format of a variant: 93 characters of its lease (two generations, 16 of the read's token, 13 of its end), 29 of its
-- watermark (16 digits of us, 13 of its end), 65 of the newest response that was shown (20 of its version, 16 of its
-- digest, 16 digits of us when it was known, 13 of its end), 2 of the number of denied credentials, 45 for each of
-- those (32 of the credential, 13 of its end), and the entry. Expired parts are left out. Like coherence::VariantState.
local NO_LEASE, NO_WATERMARK, NO_NEWEST = string.rep('0', 93), string.rep('0', 29), string.rep('0', 65)
local NO_VERSION = string.rep('0', 20)
local function read_variant(key, now)
  local text = redis.call('GET', key)
  local variant = { lease = NO_LEASE, watermark = NO_WATERMARK, newest = NO_NEWEST, denied = {}, entry = '' }
  if not text then return variant end
  if tonumber(string.sub(text, 81, 93)) > now then variant.lease = string.sub(text, 1, 93) end
  if tonumber(string.sub(text, 110, 122)) > now then variant.watermark = string.sub(text, 94, 122) end
  if tonumber(string.sub(text, 175, 187)) > now then variant.newest = string.sub(text, 123, 187) end
  local entry = 190 + 45 * tonumber(string.sub(text, 188, 189))
  for i = 190, entry - 1, 45 do
    if tonumber(string.sub(text, i + 32, i + 44)) > now then variant.denied[#variant.denied + 1] = string.sub(text, i, i + 44) end
  end
  if #text > entry and tonumber(string.sub(text, entry + 114, entry + 126)) > now then variant.entry = string.sub(text, entry) end
  return variant
end
local function write_variant(key, variant, now)
  local last = math.max(tonumber(string.sub(variant.lease, 81)), tonumber(string.sub(variant.watermark, 17)))
  last = math.max(last, tonumber(string.sub(variant.newest, 53)))
  for _, denied in ipairs(variant.denied) do last = math.max(last, tonumber(string.sub(denied, 33))) end
  if variant.entry ~= '' then last = math.max(last, tonumber(string.sub(variant.entry, 115, 127))) end
  if last <= now then
    redis.call('DEL', key)
    return
  end
  local head = variant.lease .. variant.watermark .. variant.newest .. string.format('%02d', #variant.denied)
  redis.call('SET', key, head .. table.concat(variant.denied) .. variant.entry, 'PX', last - now)
end
-- Ends the read's own lease.
local function release_variant(variant, reader)
  if string.sub(variant.lease, 65, 80) == reader then variant.lease = NO_LEASE end
end
-- Rejects responses whose fetch started before `began`.
local function bar_variant(variant, began, kept, now)
  local latest = math.max(tonumber(string.sub(variant.watermark, 17)), now + kept)
  local newest = string.sub(variant.watermark, 1, 16)
  if began > newest then newest = began end
  variant.watermark = newest .. string.format('%013d', latest)
end
-- Drops the entry, and rejects responses in flight. Nobody should wait for them any longer.
local function end_variant(variant, moment, kept, now)
  variant.lease, variant.entry = NO_LEASE, ''
  bar_variant(variant, moment, kept, now)
end
-- Whether a higher version was shown.
local function knows_higher(variant, version)
  return version ~= NO_VERSION and version < string.sub(variant.newest, 1, 20)
end
-- Records a response that is shown, unless a higher version was.
local function see_variant(variant, version, digest, moment, kept, now)
  if knows_higher(variant, version) then return end
  local latest = math.max(tonumber(string.sub(variant.newest, 53)), now + kept)
  local before = string.sub(variant.newest, 1, 20)
  if version < before then version = before end
  variant.newest = version .. digest .. moment .. string.format('%013d', latest)
end
-- Whether two versions tell which response is newer.
local function differ(one, other)
  return one ~= NO_VERSION and other ~= NO_VERSION and one ~= other
end
-- Compares a response to the newest known one: 'older', 'same', 'newer', 'unclear'.
local function order_in(variant, began, version, digest)
  local known, same, at
  if variant.newest ~= NO_NEWEST then
    known, same, at = string.sub(variant.newest, 1, 20), string.sub(variant.newest, 21, 36), string.sub(variant.newest, 37, 52)
  elseif variant.entry ~= '' then
    known, same, at = string.sub(variant.entry, 66, 85), string.sub(variant.entry, 160, 175), string.sub(variant.entry, 86, 101)
  else
    return 'newer'
  end
  if differ(known, version) then return version < known and 'older' or 'newer' end
  if digest == same then return 'same' end
  return began < at and 'unclear' or 'newer'
end
-- Drops what is or may be older than a response that was shown, and rejects fetches that started before that one, or
-- before it was known. Returns whether anything changed.
local function supersede_variant(variant, began, version, digest, moment, kept, now)
  local order = order_in(variant, began, version, digest)
  if order == 'older' then return false end
  if order == 'same' then
    -- An earlier fetch may have seen the session between the two.
    see_variant(variant, version, digest, moment, kept, now)
    return false
  end
  if order == 'unclear' or began > moment then began = moment end
  variant.entry = ''
  bar_variant(variant, began, kept, now)
  see_variant(variant, version, digest, moment, kept, now)
  return true
end
