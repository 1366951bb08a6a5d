#!lua
-- Whether the server works: one that takes no writes refuses it. KEYS: any, or none. With one, a cluster that has lost its majority
-- refuses it too.
return 1
