-- Begins a read: coherence::acquire without the epoch, whose generation the caller sends. KEYS: state, variant, and
-- tenants if needed. ARGV: own token; token to take the lease over from, or ''; the epoch's generation; TTL of a new
-- generation and of a lease in ms; 'fresh' (no hit, no lease), 'unstored' (no lease) or ''; the credential; the tenant;
-- when the upstream was last purged. The reply is a letter, the time in us, the floor, except for the first two the
-- start of the fetch of the newest known response in us, and
--   X nothing (deleted)   W nothing (marked, or deleted for an unknown tenant)
--   N the generation (denied to this credential)   G the generation (the read fetches)
--   L the generation and the lease holder's token   D the entry   S the entry (stale; the read fetches)
--   R the lease holder's token and the entry (stale)
-- With `#!lua` in front, a server that rejects writes rejects this script too, hits included: marks could not be placed
-- either. The same holds for a user without write permission.
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
-- The state has all deletions of the default tenant; the tenants' key says which of them a purge has lifted.
if KEYS[3] and (gone ~= '' or ARGV[8] ~= OWN) then
  gone, floor = shown_to(KEYS[3], ARGV[8], ARGV[9], shared, floor, now)
end
local head = t[1] .. string.format('%06d', t[2]) .. floor
if gone ~= '' then return gone .. head end
if state then
  for i = 66, #state, 29 do
    if tonumber(string.sub(state, i + 16, i + 28)) > now then return 'W' .. head end
  end
  -- Expired marks leave no generation: what was fetched under them was fetched without one.
  if #state == 65 then generation = string.sub(state, 1, 32) end
end
if not generation then
  -- Always a new generation: a request that is executed twice can never restore an old one.
  generation = ARGV[1] .. t[1] .. string.format('%06d', t[2])
  redis.call('SET', KEYS[1], generation .. tail, 'PX', ARGV[4])
end
local stamp = generation .. ARGV[3]
local variant = read_variant(KEYS[2], now)
local since = string.sub(variant.watermark, 1, 16)
if string.sub(variant.newest, 37, 52) > since then since = string.sub(variant.newest, 37, 52) end
if variant.entry ~= '' and string.sub(variant.entry, 86, 101) > since then since = string.sub(variant.entry, 86, 101) end
head = head .. since
for _, denied in ipairs(variant.denied) do
  local whom = string.sub(denied, 1, 32)
  if whom == ARGV[7] or whom == string.rep('0', 32) then return 'N' .. head .. generation end
end
if ARGV[6] == 'fresh' then return 'G' .. head .. generation end
local entry, only = variant.entry, string.sub(variant.entry, 128, 159)
if string.sub(entry, 2, 65) ~= stamp or (only ~= string.rep('0', 32) and only ~= ARGV[7]) then entry = '' end
if entry ~= '' and tonumber(string.sub(entry, 102, 114)) > now then return 'D' .. head .. entry end
local other = string.sub(variant.lease, 65, 80)
if string.sub(variant.lease, 1, 64) == stamp and other ~= ARGV[1] and other ~= ARGV[2] then
  if entry ~= '' then return 'R' .. head .. other .. entry end
  return 'L' .. head .. generation .. other
end
if ARGV[6] == '' then
  variant.lease = stamp .. ARGV[1] .. string.format('%013d', now + ARGV[5])
  write_variant(KEYS[2], variant, now)
end
if entry ~= '' then return 'S' .. head .. entry end
return 'G' .. head .. generation
