-- Verification and repair. platform_digest: digests of the platform's tables as they were read, so that a state that is
-- still shown need not be read again; part bounds are empty where there is none. coverage: how far the verification in the
-- background is. repair: each repair, keys: JSON. Times: microseconds.
CREATE TABLE platform_digest (
    stream TEXT NOT NULL,
    part_after TEXT NOT NULL,
    part_through TEXT NOT NULL,
    state TEXT NOT NULL,
    cells BIGINT NOT NULL,
    content {bytes} NOT NULL,
    read_at BIGINT NOT NULL,
    PRIMARY KEY (stream, part_after, part_through)
);

CREATE TABLE coverage (
    stream_id BIGINT NOT NULL PRIMARY KEY REFERENCES stream (id),
    round BIGINT NOT NULL,
    began_at BIGINT NOT NULL,
    part_after TEXT NOT NULL,
    source_rows BIGINT NOT NULL,
    source_digest TEXT NOT NULL,
    platform_rows BIGINT NOT NULL,
    platform_digest TEXT NOT NULL,
    missing BIGINT NOT NULL,
    extra BIGINT NOT NULL,
    different BIGINT NOT NULL,
    in_flight BIGINT NOT NULL,
    looked_at BIGINT NOT NULL,
    covered_at BIGINT NOT NULL,
    next_at BIGINT NOT NULL,
    code TEXT NOT NULL,
    reason TEXT NOT NULL
);

CREATE TABLE repair (
    id {serial},
    stream_id BIGINT NOT NULL REFERENCES stream (id),
    asked_by TEXT NOT NULL,
    via TEXT NOT NULL,
    why TEXT NOT NULL,
    asked_at BIGINT NOT NULL,
    touched_at BIGINT NOT NULL,
    ended_at BIGINT NOT NULL,
    progress TEXT NOT NULL,
    state TEXT NOT NULL,
    dry_run BIGINT NOT NULL,
    missing BIGINT NOT NULL,
    extra BIGINT NOT NULL,
    different BIGINT NOT NULL,
    sent BIGINT NOT NULL,
    deleted BIGINT NOT NULL,
    left_over BIGINT NOT NULL,
    keys TEXT NOT NULL,
    code TEXT NOT NULL,
    reason TEXT NOT NULL,
    remedy TEXT NOT NULL
);

CREATE INDEX repair_of_stream ON repair (stream_id, id);
