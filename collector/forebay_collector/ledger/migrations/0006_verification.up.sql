-- Verifications: each comparison of a source and the platform, from the moment it was asked for to its result.
-- state: waiting, running, equal, different, failed. result: JSON, the keys that differ among it. Times: microseconds.
CREATE TABLE verification (
    id {serial},
    stream_id BIGINT NOT NULL REFERENCES stream (id),
    asked_by TEXT NOT NULL,
    via TEXT NOT NULL,
    why TEXT NOT NULL,
    asked_at BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    touched_at BIGINT NOT NULL,
    ended_at BIGINT NOT NULL,
    state TEXT NOT NULL,
    progress TEXT NOT NULL,
    code TEXT NOT NULL,
    reason TEXT NOT NULL,
    remedy TEXT NOT NULL,
    result TEXT NOT NULL
);

CREATE INDEX verification_of_stream ON verification (stream_id, id);
CREATE INDEX verification_open ON verification (id) WHERE state IN ('waiting', 'running');
