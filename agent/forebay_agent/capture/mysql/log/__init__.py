"""Mode log for MySQL and MariaDB. Read in this order: `checkpoint` and `gtids` (where a log stands), `connection` (its packets),
`table_map`, `wire` and `rows` (a row's bytes to its values), `query_event`, `statements` and `alter` (what a statement does),
`followed` (one table), `reader`, which ties them together, and `opening`, `chunk`, `examine`, which ask the server.
"""
