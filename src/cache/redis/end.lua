-- Ends a write: coherence::end. KEYS: state, and tenants if the write affects them. ARGV: own token; the version in 20
-- digits; 'unchanged' or ''; how long the session counts as deleted in ms (or 'lifted' if it no longer does, 'purged'
-- if that applies to all sessions of the upstream); TTL of the state in ms; for a session: the write's tenant; when the
-- upstream was last purged; TTL of a tenant's version in ms; the most tenants. The reply is 0 if other writes are in
-- flight, 1 if responses may be stored again, 2 if the write's own mark was also missing.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local none = string.rep('-', 32)
local state = redis.call('GET', KEYS[1])
local own = not ARGV[6] or ARGV[6] == OWN
local before, floor, deleted = none, string.rep('0', 20), 0
local keep, last, found, ran_out = '', 0, false, false
if state then
  floor, deleted = string.sub(state, 33, 52), tonumber(string.sub(state, 53, 65))
  if #state > 65 then before = string.sub(state, 1, 32) end
  for i = 66, #state, 29 do
    local deadline = tonumber(string.sub(state, i + 16, i + 28))
    if deadline <= now then
      ran_out = true
    elseif string.sub(state, i, i + 15) == ARGV[1] then
      found = true
    else
      keep = keep .. string.sub(state, i, i + 28)
      last = math.max(last, deadline)
    end
  end
end
if ran_out or ARGV[3] ~= 'unchanged' then before = none end
local ends = 0
if ARGV[4] == 'lifted' then
  deleted = 0
elseif ARGV[4] == 'purged' then
  floor = string.format('%020d', math.max(now, tonumber(floor) + 1))
elseif tonumber(ARGV[4]) > 0 then
  ends = now + ARGV[4]
end
if own then
  if ARGV[2] > floor then floor = ARGV[2] end
  deleted = math.max(deleted, ends)
end
if KEYS[2] then
  local all = read_tenants(KEYS[2], now)
  if ARGV[4] == 'lifted' then lift_tenants(all) end
  settle_tenant(all, ARGV[6], ARGV[2], ends, ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[9]), now)
  write_tenants(KEYS[2], all, now)
end
local tail = floor .. string.format('%013d', deleted)
local kept = math.max(tonumber(ARGV[5]), deleted - now)
if keep ~= '' then
  redis.call('SET', KEYS[1], before .. tail .. keep, 'PX', math.max(kept, last - now))
  return 0
end
local generation = before
if generation == none or not found then
  generation = ARGV[1] .. t[1] .. string.format('%06d', t[2])
end
redis.call('SET', KEYS[1], generation .. tail, 'PX', kept)
return found and 1 or 2
