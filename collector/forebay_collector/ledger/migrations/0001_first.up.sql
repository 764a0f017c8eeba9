-- The first ledger. Times are integer microseconds since 1970-01-01T00:00:00Z, 0 where there is none yet.
-- {serial}, {bytes} are the dialect's words for a generated key and for a byte string.
CREATE TABLE agent (
    name TEXT NOT NULL PRIMARY KEY,
    department TEXT NOT NULL,
    serial TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    enrolled_at BIGINT NOT NULL,
    revoked_at BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    version TEXT NOT NULL,
    hostname TEXT NOT NULL,
    instance TEXT NOT NULL,
    health TEXT NOT NULL,
    streams TEXT NOT NULL
);

CREATE TABLE token (
    secret_sha256 {bytes} NOT NULL PRIMARY KEY,
    department TEXT NOT NULL,
    agent TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT NOT NULL
);

CREATE TABLE stream (
    id {serial},
    department TEXT NOT NULL,
    source TEXT NOT NULL,
    table_name TEXT NOT NULL,
    agent TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    durable_seq BIGINT NOT NULL,
    durable_chain {bytes} NOT NULL,
    loaded_epoch BIGINT NOT NULL,
    loaded_seq BIGINT NOT NULL,
    held_code TEXT NOT NULL,
    held_reason TEXT NOT NULL,
    held_at BIGINT NOT NULL,
    held_epoch BIGINT NOT NULL,
    held_seq BIGINT NOT NULL,
    UNIQUE (department, source, table_name)
);

CREATE TABLE schema (
    stream_id BIGINT NOT NULL REFERENCES stream (id),
    fingerprint {bytes} NOT NULL,
    content {bytes} NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (stream_id, fingerprint)
);

CREATE TABLE dictionary (
    stream_id BIGINT NOT NULL REFERENCES stream (id),
    dictionary_id TEXT NOT NULL,
    content {bytes} NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (stream_id, dictionary_id)
);

CREATE TABLE batch (
    stream_id BIGINT NOT NULL REFERENCES stream (id),
    epoch BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    header {bytes} NOT NULL,
    row_count BIGINT NOT NULL,
    reads BIGINT NOT NULL,
    inserts BIGINT NOT NULL,
    updates BIGINT NOT NULL,
    deletes BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    first_position TEXT NOT NULL,
    last_position TEXT NOT NULL,
    first_committed_at BIGINT NOT NULL,
    last_committed_at BIGINT NOT NULL,
    captured_at BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    loaded_at BIGINT NOT NULL,
    expired_at BIGINT NOT NULL,
    snapshot BIGINT NOT NULL,
    last_of_snapshot BIGINT NOT NULL,
    state TEXT NOT NULL,
    code TEXT NOT NULL,
    reason TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    PRIMARY KEY (stream_id, epoch, seq)
);

CREATE INDEX batch_durable ON batch (stream_id, epoch, seq) WHERE state = 'durable';
CREATE INDEX batch_unsettled ON batch (received_at) WHERE state IN ('quarantined', 'discarded');
CREATE INDEX batch_kept ON batch (loaded_at) WHERE state = 'loaded' AND expired_at = 0;
CREATE INDEX batch_received ON batch (received_at);
CREATE INDEX batch_of_stream ON batch (stream_id, received_at);

CREATE TABLE audit (
    id {serial},
    at BIGINT NOT NULL,
    who TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    why TEXT NOT NULL,
    detail TEXT NOT NULL
);

CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_subject ON audit (subject, at);
