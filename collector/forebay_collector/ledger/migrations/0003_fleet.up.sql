-- The fleet: what each agent last said of each of its streams, samples of its health, its canaries, where its identity was
-- seen, and the configuration that it is offered. {clustered}: rows stand in the order of their key where the dialect can.
-- agent_stream.state: StreamState as JSON. A stream's state leaves the agent's row, so that a heartbeat writes what changed.
ALTER TABLE agent DROP COLUMN streams;
ALTER TABLE agent ADD COLUMN connected_since BIGINT NOT NULL DEFAULT 0;
ALTER TABLE agent ADD COLUMN heartbeat_ms BIGINT NOT NULL DEFAULT 0;
ALTER TABLE agent ADD COLUMN two_places_at BIGINT NOT NULL DEFAULT 0;

CREATE TABLE agent_stream (
    agent TEXT NOT NULL REFERENCES agent (name),
    stream TEXT NOT NULL,
    code TEXT NOT NULL,
    state TEXT NOT NULL,
    reported_at BIGINT NOT NULL,
    PRIMARY KEY (agent, stream)
){clustered};

CREATE TABLE agent_place (
    agent TEXT NOT NULL REFERENCES agent (name),
    instance TEXT NOT NULL,
    hostname TEXT NOT NULL,
    peer TEXT NOT NULL,
    first_seen_at BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    PRIMARY KEY (agent, instance, hostname)
);

CREATE TABLE canary (
    agent TEXT NOT NULL REFERENCES agent (name),
    source TEXT NOT NULL,
    kind TEXT NOT NULL,
    made_at BIGINT NOT NULL,
    loaded_at BIGINT NOT NULL,
    round_trip BIGINT NOT NULL,
    code TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (agent, source)
){clustered};

CREATE TABLE health_sample (
    agent TEXT NOT NULL REFERENCES agent (name),
    at BIGINT NOT NULL,
    cpu_permille BIGINT NOT NULL,
    load_percent BIGINT NOT NULL,
    memory_used_permille BIGINT NOT NULL,
    disk_free BIGINT NOT NULL,
    agent_rss BIGINT NOT NULL,
    outbox_batches BIGINT NOT NULL,
    outbox_bytes BIGINT NOT NULL,
    clock_offset BIGINT NOT NULL,
    streams_troubled BIGINT NOT NULL,
    round_trip BIGINT NOT NULL,
    PRIMARY KEY (agent, at)
){clustered};

-- state: trial, rest, done, stopped, cancelled. settings: what is offered, JSON. trial: microseconds.
CREATE TABLE rollout (
    id {serial},
    settings TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    why TEXT NOT NULL,
    trial BIGINT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    healthy_since BIGINT NOT NULL,
    ended_at BIGINT NOT NULL
);

CREATE INDEX rollout_open ON rollout (id) WHERE ended_at = 0;

-- state: waiting, released, sent, applied, failed, cancelled, superseded. command_id: until it has ended. troubles: codes that the agent had before, JSON.
-- configuration: all that was in force at the agent when it applied the offer, as it told, JSON without secrets.
CREATE TABLE offer (
    agent TEXT NOT NULL REFERENCES agent (name),
    revision BIGINT NOT NULL,
    rollout_id BIGINT NOT NULL REFERENCES rollout (id),
    is_first BIGINT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    troubles TEXT NOT NULL,
    command_id TEXT NOT NULL,
    sent_at BIGINT NOT NULL,
    decided_at BIGINT NOT NULL,
    configuration TEXT NOT NULL,
    PRIMARY KEY (agent, revision)
);

CREATE INDEX offer_of_rollout ON offer (rollout_id);
CREATE INDEX offer_open ON offer (agent) WHERE state = 'released' OR command_id <> '';

ALTER TABLE command ADD COLUMN why TEXT NOT NULL DEFAULT '';
ALTER TABLE command ADD COLUMN effect TEXT NOT NULL DEFAULT '';
ALTER TABLE command ADD COLUMN sent_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX command_created ON command (created_at);
CREATE INDEX command_of_agent ON command (agent, created_at);
