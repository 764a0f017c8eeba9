-- Every certificate that was given to an agent: in force is the one that agent.serial names.
-- ended_by: enrolment, renewal, not taken up; empty while ended_at is 0.
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
