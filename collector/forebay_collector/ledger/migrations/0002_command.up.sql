-- Commands from the command line or the console to an agent, and the parts of their answers.
-- state: waiting, sent, done, failed, cancelled. parameters: the Command message as JSON. content: a CommandResult.
CREATE TABLE command (
    id TEXT NOT NULL PRIMARY KEY,
    agent TEXT NOT NULL,
    kind TEXT NOT NULL,
    parameters TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    state TEXT NOT NULL,
    code TEXT NOT NULL,
    reason TEXT NOT NULL,
    ended_at BIGINT NOT NULL
);

CREATE INDEX command_open ON command (agent) WHERE state IN ('waiting', 'sent');

CREATE TABLE command_part (
    command_id TEXT NOT NULL REFERENCES command (id),
    part BIGINT NOT NULL,
    content {bytes} NOT NULL,
    PRIMARY KEY (command_id, part)
);
