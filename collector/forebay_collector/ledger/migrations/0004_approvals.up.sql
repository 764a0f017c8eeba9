-- What agents propose to share, what was decided about it, and every certificate that was given to an agent.
--
-- proposal.columns: JSON list of name, origin, type, mask; proposal.key_columns: JSON list of names. closed: rejected or
-- withdrawn, for the whole stream; empty: its columns are decided about one by one. revision: approval_state.revision when
-- something about the stream changed last. What was received before is approved as it is: ledger/approve_existing.py.
CREATE TABLE proposal (
    department TEXT NOT NULL,
    source TEXT NOT NULL,
    table_name TEXT NOT NULL,
    agent TEXT NOT NULL,
    columns TEXT NOT NULL,
    key_columns TEXT NOT NULL,
    mode TEXT NOT NULL,
    guarantee TEXT NOT NULL,
    update_cycle TEXT NOT NULL,
    code TEXT NOT NULL,
    reason TEXT NOT NULL,
    first_seen_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    gone_at BIGINT NOT NULL,
    closed TEXT NOT NULL,
    closed_by TEXT NOT NULL,
    closed_at BIGINT NOT NULL,
    closed_why TEXT NOT NULL,
    revision BIGINT NOT NULL,
    PRIMARY KEY (department, source, table_name)
);

CREATE INDEX proposal_agent ON proposal (agent);
CREATE INDEX proposal_revision ON proposal (revision);

-- state: approved, rejected, withdrawn
CREATE TABLE approval (
    department TEXT NOT NULL,
    source TEXT NOT NULL,
    table_name TEXT NOT NULL,
    column_name TEXT NOT NULL,
    mask TEXT NOT NULL,
    state TEXT NOT NULL,
    decided_by TEXT NOT NULL,
    decided_at BIGINT NOT NULL,
    why TEXT NOT NULL,
    PRIMARY KEY (department, source, table_name, column_name, mask)
);

-- Revisions are moments in microseconds, or one more than the last: they grow when a ledger is restored from a copy, too.
-- mode: auto, manual; empty until a collector says.
CREATE TABLE approval_state (
    one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    mode TEXT NOT NULL,
    revision BIGINT NOT NULL
);

INSERT INTO approval_state VALUES (1, '', 0);

CREATE TABLE approval_revision (
    agent TEXT NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL
);

-- In force is the certificate that agent.serial names. ended_by: enrolment, renewal, not taken up; empty while ended_at is 0.
CREATE TABLE certificate (
    serial TEXT NOT NULL PRIMARY KEY,
    agent TEXT NOT NULL,
    issued_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    ended_at BIGINT NOT NULL,
    ended_by TEXT NOT NULL
);

CREATE INDEX certificate_open ON certificate (agent) WHERE ended_at = 0;

INSERT INTO certificate SELECT serial, name, enrolled_at, expires_at, 0, '' FROM agent;
