-- Format 3 of the outbox (older files: upgrade.py). PRAGMAs (page size, WAL, application_id, user_version) are set by file.py.

CREATE TABLE stream (
    id            INTEGER PRIMARY KEY,
    department    TEXT    NOT NULL,
    source        TEXT    NOT NULL,
    name          TEXT    NOT NULL, -- schema.table
    epoch         INTEGER NOT NULL,
    next_seq      INTEGER NOT NULL,
    chain         BLOB    NOT NULL, -- of the batch that the next one follows
    checkpoint    TEXT    NOT NULL, -- JSON; '{}' is the start
    window_number INTEGER NOT NULL DEFAULT 0, -- counts re-read windows, see seen.py
    -- the collector's mark where it and this outbox do not fit together, until `reset` starts from it
    held_code     TEXT    NOT NULL DEFAULT '',
    held_reason   TEXT    NOT NULL DEFAULT '',
    held_epoch    INTEGER NOT NULL DEFAULT 0,
    held_seq      INTEGER NOT NULL DEFAULT 0,
    held_chain    BLOB    NOT NULL DEFAULT x'',
    -- where the open part begins: batches from (open_epoch, open_seq) on belong to a transaction of the source whose end
    -- was not read yet, and are not shown to readers; epoch 0: there is none. See open_part.py.
    open_epoch      INTEGER NOT NULL DEFAULT 0,
    open_seq        INTEGER NOT NULL DEFAULT 0,
    open_chain      BLOB    NOT NULL DEFAULT x'',
    open_checkpoint TEXT    NOT NULL DEFAULT '',
    checksum        INTEGER NOT NULL DEFAULT 0, -- see checksums.py
    UNIQUE (department, source, name)
) STRICT;

-- How far each source's log was captured.
CREATE TABLE log (
    department TEXT NOT NULL,
    source     TEXT NOT NULL,
    checkpoint TEXT NOT NULL, -- the dialect's own
    tables     TEXT NOT NULL, -- JSON: names (schema.table) of the streams that were followed up to it
    checksum   INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (department, source)
) STRICT, WITHOUT ROWID;

-- Sealed batches that the collector has not called durable. The payload comes behind what listings read.
CREATE TABLE batch (
    id      INTEGER PRIMARY KEY,
    stream  INTEGER NOT NULL REFERENCES stream,
    epoch   INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    chain   BLOB    NOT NULL,
    size    INTEGER NOT NULL, -- bytes of header and payload
    header  BLOB    NOT NULL,
    payload BLOB    NOT NULL,
    checksum INTEGER NOT NULL DEFAULT 0, -- see checksums.py
    UNIQUE (stream, epoch, seq)
) STRICT;

-- What opens the payloads, by fingerprint.
CREATE TABLE schema (
    fingerprint BLOB PRIMARY KEY,
    serialized  BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Rows of re-read windows that were sealed already: digest of the key -> digest of the row.
CREATE TABLE seen (
    stream        INTEGER NOT NULL REFERENCES stream,
    key           BLOB    NOT NULL,
    row           BLOB    NOT NULL,
    window_number INTEGER NOT NULL,
    PRIMARY KEY (stream, key)
) STRICT, WITHOUT ROWID;

-- Who started a stream anew, and why; epochs that log capture began, too.
CREATE TABLE reset (
    id                INTEGER PRIMARY KEY,
    stream            INTEGER NOT NULL REFERENCES stream,
    at_us             INTEGER NOT NULL,
    who               TEXT    NOT NULL,
    why               TEXT    NOT NULL,
    old_epoch         INTEGER NOT NULL,
    old_next_seq      INTEGER NOT NULL,
    old_checkpoint    TEXT    NOT NULL,
    new_epoch         INTEGER NOT NULL,
    -- waiting batches that the collector could never have taken, because it and the outbox did not fit together
    abandoned_batches INTEGER NOT NULL,
    abandoned_bytes   INTEGER NOT NULL
) STRICT;

-- Ranges of keys that somebody asked to take anew; see requests.py.
CREATE TABLE request (
    id       INTEGER PRIMARY KEY,
    stream   INTEGER NOT NULL REFERENCES stream,
    at_us    INTEGER NOT NULL,
    who      TEXT    NOT NULL,
    why      TEXT    NOT NULL,
    at_least TEXT, -- of the first key column, as text; NULL: from the beginning
    through  TEXT, -- NULL: to the end
    done     INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Whoever changes a row without renewing its checksum knows of none: an older version that is still running.
CREATE TRIGGER stream_unguarded AFTER UPDATE ON stream WHEN NEW.checksum <> 0 AND NEW.checksum = OLD.checksum
BEGIN UPDATE stream SET checksum = 0 WHERE id = NEW.id; END;
CREATE TRIGGER log_unguarded AFTER UPDATE ON log WHEN NEW.checksum <> 0 AND NEW.checksum = OLD.checksum AND NEW.checkpoint <> OLD.checkpoint
BEGIN UPDATE log SET checksum = 0 WHERE department = NEW.department AND source = NEW.source; END;
