#!lua
-- Heartbeat: writes as the steps do, so a server that is full, read-only or lacks rights rejects it. KEYS: a key that
-- nothing else uses, or none. With a key, a cluster that has lost its majority rejects it too.
if KEYS[1] then
    redis.call('set', KEYS[1], '', 'px', 1000)
    redis.call('del', KEYS[1])
end
return 1
