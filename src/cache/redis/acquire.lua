-- A read begins: coherence::acquire, but for the epoch, whose generation the caller says. KEYS: state, place, and
-- tenants where they count. ARGV: own token, token to take over from or '', the epoch's generation, how long a new
-- generation and a lease are kept in ms, 'fresh' (no hit and no lease) or 'unstored' (no lease) or '', whose credential
-- it is, which tenant it asks, when the upstream was purged last. The answer is a letter, the time in us, the floor,
-- and but for the first two when the fetch of the newest answer began that is known, in us, and
--   X nothing (deleted)   W nothing (marked, or deleted for a tenant that is not known)
--   N the generation (denied to this credential)   G the generation (the reader leads)
--   L the generation and the other's token   D the entry   S the entry (no longer fresh, the reader leads)
--   R the other's token and the entry (no longer fresh)
-- With `#!lua` before it a server that takes no writes refuses all of this, hits included: marks could not be placed either. Nor
-- could they by a user who may not write.
if not redis.acl_check_cmd('SET', KEYS[1], '') then return redis.error_reply('NOPERM this user may not write') end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local state = redis.call('GET', KEYS[1])
local generation
local tail = string.rep('0', 33)
if state then
  tail = string.sub(state, 33, 65)
end
local floor, shared = string.sub(tail, 1, 20), string.sub(tail, 21, 33)
local gone = tonumber(shared) > now and 'X' or ''
-- The own tenant's deletions are all in the state; the key says which of them a purge has lifted.
if KEYS[3] and (gone ~= '' or ARGV[8] ~= OWN) then
  gone, floor = shown_to(KEYS[3], ARGV[8], ARGV[9], shared, floor, now)
end
local head = t[1] .. string.format('%06d', t[2]) .. floor
if gone ~= '' then return gone .. head end
if state then
  for i = 66, #state, 29 do
    if tonumber(string.sub(state, i + 16, i + 28)) > now then return 'W' .. head end
  end
  -- Marks that ran out leave no generation: what was fetched while they stood was fetched under none.
  if #state == 65 then generation = string.sub(state, 1, 32) end
end
if not generation then
  -- Minted here, each time anew: a request that is carried out twice can never bring an old one back.
  generation = ARGV[1] .. t[1] .. string.format('%06d', t[2])
  redis.call('SET', KEYS[1], generation .. tail, 'PX', ARGV[4])
end
local stamp = generation .. ARGV[3]
local place = read_place(KEYS[2], now)
local since = string.sub(place.watermark, 1, 16)
if string.sub(place.newest, 37, 52) > since then since = string.sub(place.newest, 37, 52) end
if place.entry ~= '' and string.sub(place.entry, 86, 101) > since then since = string.sub(place.entry, 86, 101) end
head = head .. since
for _, denied in ipairs(place.denied) do
  local whom = string.sub(denied, 1, 32)
  if whom == ARGV[7] or whom == string.rep('0', 32) then return 'N' .. head .. generation end
end
if ARGV[6] == 'fresh' then return 'G' .. head .. generation end
local entry, only = place.entry, string.sub(place.entry, 128, 159)
if string.sub(entry, 2, 65) ~= stamp or (only ~= string.rep('0', 32) and only ~= ARGV[7]) then entry = '' end
if entry ~= '' and tonumber(string.sub(entry, 102, 114)) > now then return 'D' .. head .. entry end
local other = string.sub(place.lease, 65, 80)
if string.sub(place.lease, 1, 64) == stamp and other ~= ARGV[1] and other ~= ARGV[2] then
  if entry ~= '' then return 'R' .. head .. other .. entry end
  return 'L' .. head .. generation .. other
end
if ARGV[6] == '' then
  place.lease = stamp .. ARGV[1] .. string.format('%013d', now + ARGV[5])
  write_place(KEYS[2], place, now)
end
if entry ~= '' then return 'S' .. head .. entry end
return 'G' .. head .. generation
