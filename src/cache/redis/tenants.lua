-- Per-tenant state of a session: 91 characters for each tenant (32 of the tenant, 20 of the version below which
-- responses are too old, 13 of the end of that, 13 of the end of the deletion, 13 of the upstream's last purge before
-- it). Expired parts are left out. Like coherence::tenants.
local OWN, NEVER = string.rep('0', 32), string.rep('0', 13)
local function read_tenants(key, now)
  local text, all = redis.call('GET', key) or '', {}
  for i = 1, #text, 91 do
    local one = string.sub(text, i, i + 90)
    if tonumber(string.sub(one, 53, 65)) <= now then
      one = string.sub(one, 1, 32) .. string.rep('0', 33) .. string.sub(one, 66)
    end
    if tonumber(string.sub(one, 53, 65)) > now or tonumber(string.sub(one, 66, 78)) > now then all[#all + 1] = one end
  end
  return all
end
-- Whether the session is deleted for a tenant ('X'; 'W' if it is unknown for which tenant; or ''), and its floor.
-- `shared` is the end of the deletion in the state, `floor` the floor in the state: both are the default tenant's.
local function shown_to(key, tenant, purged, shared, floor, now)
  local gone, known = '', tonumber(shared) <= now
  if tenant ~= OWN then floor = string.rep('0', 20) end
  for _, one in ipairs(read_tenants(key, now)) do
    local whose, ends = string.sub(one, 1, 32), string.sub(one, 66, 78)
    if whose == OWN and ends == shared then known = true end
    if whose == tenant then
      if tenant ~= OWN then floor = string.sub(one, 33, 52) end
      if tonumber(ends) > now and string.sub(one, 79, 91) >= purged then gone = 'X' end
    end
  end
  if gone == '' and not known then gone = tenant == OWN and 'X' or 'W' end
  return gone, floor
end
-- Drops the tenant whose state expires first.
local function drop_tenant(all)
  local first = 1
  for i = 2, #all do
    local ends, others = string.sub(all[i], 66, 78), string.sub(all[first], 66, 78)
    if ends < others or (ends == others and string.sub(all[i], 53, 65) < string.sub(all[first], 53, 65)) then first = i end
  end
  table.remove(all, first)
end
-- Records what a write says about its tenant: the version, and the end of the deletion or 0. The default tenant's floor
-- is in the state.
local function settle_tenant(all, tenant, version, deleted, purged, kept, most, now)
  if tenant == OWN then version = string.rep('0', 20) end
  if tonumber(version) == 0 and deleted == 0 then return end
  local at
  for i, one in ipairs(all) do
    if string.sub(one, 1, 32) == tenant then at = i end
  end
  if not at then
    if #all >= most then drop_tenant(all) end
    at = #all + 1
    all[at] = tenant .. string.rep('0', 33) .. NEVER .. NEVER
  end
  local one = all[at]
  local floor, floor_until = string.sub(one, 33, 52), string.sub(one, 53, 65)
  local ends, under = string.sub(one, 66, 78), string.sub(one, 79, 91)
  if tonumber(version) > 0 then
    if version > floor then floor = version end
    floor_until = string.format('%013d', now + kept)
  end
  if deleted > 0 then
    -- Of two concurrent deletions, the one recorded last may have read the last purge first.
    if tonumber(ends) <= now or under < purged then under = purged end
    ends = string.format('%013d', math.max(tonumber(ends), deleted))
  end
  all[at] = tenant .. floor .. floor_until .. ends .. under
end
local function write_tenants(key, all, now)
  local last = now
  for _, one in ipairs(all) do
    last = math.max(last, tonumber(string.sub(one, 53, 65)), tonumber(string.sub(one, 66, 78)))
  end
  if last <= now then
    redis.call('DEL', key)
  else
    redis.call('SET', key, table.concat(all), 'PX', last - now)
  end
end
-- Lifts the deletions of all tenants.
local function lift_tenants(all)
  for i, one in ipairs(all) do all[i] = string.sub(one, 1, 65) .. NEVER .. NEVER end
end
