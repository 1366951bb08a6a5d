-- The mark of a server whose rights count: see Server::rights_count_in. A server that has restarted, or has taken over,
-- does not know this script.
return 1
