"""Mode log: one reader of a source's log, its streams, their snapshots beside it. Read `pipeline` first."""
