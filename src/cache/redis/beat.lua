#!lua
-- Heartbeat: a server that rejects writes rejects it. KEYS: any key, or none. With a key, a cluster that has lost its
-- majority rejects it too.
return 1
