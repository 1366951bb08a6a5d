-- A step of the exclusive right: coherence::exclusive. KEYS: right; newest version of the tenant. ARGV: own token; 'take',
-- 'renew', 'give_back', 'saw' or 'end'; the tenant; how long the right lasts in ms; how long a reservation lasts in ms;
-- the version, 20 digits, or ''; how long it is kept in ms. The reply is 1 if the right is held and 0 if not, for how long
-- in ms, and the newest version or ''. The format: 16 digits of the holder's token, 32 of its tenant, 13 of its deadline,
-- 16 of the token that it is reserved for, 13 of the end of the reservation; zeros if there is none.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local nobody = string.rep('0', 16)
local own, step, tenant, version = ARGV[1], ARGV[2], ARGV[3], ARGV[6]
local right = redis.call('GET', KEYS[1]) or ''
local newest = redis.call('GET', KEYS[2]) or ''
local holder, its_tenant, deadline = nobody, string.rep('0', 32), 0
local after, reserved = nobody, 0
if #right == 90 then
  if tonumber(string.sub(right, 49, 61)) > now then
    holder, its_tenant = string.sub(right, 1, 16), string.sub(right, 17, 48)
    deadline = tonumber(string.sub(right, 49, 61))
  end
  if tonumber(string.sub(right, 78, 90)) > now then
    after, reserved = string.sub(right, 62, 77), tonumber(string.sub(right, 78, 90))
  end
end
-- A lower version of the holder counts: versions of this provider do not only rise.
if step == 'give_back' and version ~= '' and holder == own then newest = '' end
local knows = version ~= '' and (step == 'give_back' or (step == 'saw' and (holder ~= nobody or newest ~= '')))
local may_hold = after == nobody or after == own
if step == 'take' and (holder == own or (holder == nobody and may_hold)) then
  if after == own then after, reserved = nobody, 0 end
  holder, its_tenant, deadline = own, tenant, math.max(deadline, now + ARGV[4])
elseif step == 'take' and may_hold then
  after, reserved = own, now + ARGV[5]
elseif step == 'renew' and holder == own then
  deadline = math.max(deadline, now + ARGV[4])
elseif step == 'give_back' then
  if holder == own then holder, deadline = nobody, 0 end
  if after == own then after, reserved = nobody, 0 end
elseif step == 'end' then
  if its_tenant == tenant then holder, deadline = nobody, 0 end
  if newest ~= '' then redis.call('DEL', KEYS[2]) end
  newest = ''
end
-- Texts of one length compare like their numbers.
if knows and version >= newest then
  newest = version
  redis.call('SET', KEYS[2], newest, 'PX', ARGV[7])
end
local last = math.max(deadline, reserved)
if last > 0 then
  local text = holder .. its_tenant .. string.format('%013d', deadline) .. after .. string.format('%013d', reserved)
  redis.call('SET', KEYS[1], text, 'PX', last - now)
elseif #right > 0 then
  redis.call('DEL', KEYS[1])
end
if holder == own then return {1, deadline - now, newest} end
if holder ~= nobody then return {0, deadline - now, newest} end
if after ~= nobody and after ~= own then return {0, reserved - now, newest} end
return {0, 0, newest}
