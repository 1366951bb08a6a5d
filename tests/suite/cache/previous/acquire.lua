#!lua
-- A read begins: coherence::acquire, but for the epoch, whose generation the caller says.
-- KEYS: state, place, refresh (or none, while it cannot be had: then what is no longer fresh is nothing). ARGV: own token, token to
-- take over from or '', the epoch's generation, how long a new generation and a lease are kept in ms, 'fresh' or ''.
-- The answer is a letter, the time, the floor, and
--   X nothing (deleted)   W nothing (marked)   G the generation (the reader leads)   L the generation and the other's token
--   D the entry   S the entry (no longer fresh, the reader leads)   R the other's token and the entry (no longer fresh)
-- With the line at the top a server that takes no writes refuses all of this, hits included: marks could not be placed either. Nor
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
local head = string.format('%013d', now) .. string.sub(tail, 1, 20)
if state then
  if tonumber(string.sub(tail, 21, 33)) > now then return 'X' .. head end
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
if ARGV[6] == 'fresh' then return 'G' .. head .. generation end
local stamp = generation .. ARGV[3]
local place = redis.call('GET', KEYS[2])
if place and string.sub(place, 2, 65) == stamp then
  if string.byte(place) == 68 then
    if tonumber(string.sub(place, 79, 91)) > now then return 'D' .. head .. place end
    if KEYS[3] and tonumber(string.sub(place, 92, 104)) > now then
      local refresh = redis.call('GET', KEYS[3])
      local other = refresh and string.sub(refresh, 65, 80)
      if other and string.sub(refresh, 1, 64) == stamp and other ~= ARGV[1] and other ~= ARGV[2] then
        return 'R' .. head .. other .. place
      end
      redis.call('SET', KEYS[3], stamp .. ARGV[1], 'PX', ARGV[5])
      return 'S' .. head .. place
    end
  else
    local other = string.sub(place, 66, 81)
    if other ~= ARGV[1] and other ~= ARGV[2] then return 'L' .. head .. generation .. other end
  end
end
redis.call('SET', KEYS[2], 'L' .. stamp .. ARGV[1], 'PX', ARGV[5])
return 'G' .. head .. generation
