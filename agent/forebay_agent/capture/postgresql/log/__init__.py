"""Mode log: PostgreSQL's logical decoding through its own output plugin, pgoutput.

Read in this order: `checkpoint` (where it stands), `server` (settings, identity, the log's end), `publication`, `slot`,
`fitness` (which tables can be followed), `layout`, `relation` and `judging` (what a change of columns means), `entering`
(from where on a table is complete), `stream` (the connection), `streamed` (transactions under way), `following` and
`tables` (who gets which changes), `visibility` (what reads see of it), `reader`, `opening`, `retention`, `examine`, and
`source`, which ties them together.
"""
