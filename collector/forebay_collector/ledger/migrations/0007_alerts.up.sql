-- Alerts: each time that something was the matter, from when it was told of to when it was over. kind and subject name it;
-- there is one open alert of them at most. detail: JSON, what the texts put in. told_severity: of the last notification
-- that was made of it, empty: none was. told_at: when. resolved_told: whether its end needs no notification any more.
-- Times: microseconds, 0: not yet.
CREATE TABLE alert (
    id {serial},
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    department TEXT NOT NULL,
    agent TEXT NOT NULL,
    severity TEXT NOT NULL,
    code TEXT NOT NULL,
    detail TEXT NOT NULL,
    opened_at BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    closed_at BIGINT NOT NULL,
    acknowledged_at BIGINT NOT NULL,
    acknowledged_by TEXT NOT NULL,
    acknowledged_why TEXT NOT NULL,
    told_severity TEXT NOT NULL,
    told_at BIGINT NOT NULL,
    resolved_told BIGINT NOT NULL
);

CREATE UNIQUE INDEX alert_open ON alert (kind, subject) WHERE closed_at = 0;
CREATE INDEX alert_to_resolve ON alert (id) WHERE closed_at > 0 AND resolved_told = 0;
CREATE INDEX alert_of_department ON alert (department, id);
CREATE INDEX alert_closed ON alert (closed_at);

-- Notifications: one message to one channel. what: opened, worse, reminder, resolved, test. state: waiting, sending, sent,
-- failed. due_at: not before that. outcome: what the other end said, or why it was not reached.
CREATE TABLE notification (
    id {serial},
    channel TEXT NOT NULL,
    what TEXT NOT NULL,
    kind TEXT NOT NULL,
    made_at BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    state TEXT NOT NULL,
    ended_at BIGINT NOT NULL,
    outcome TEXT NOT NULL
);

CREATE INDEX notification_open ON notification (channel, id) WHERE state IN ('waiting', 'sending');
CREATE INDEX notification_ended ON notification (channel, ended_at);

CREATE TABLE notification_alert (
    notification_id BIGINT NOT NULL REFERENCES notification (id),
    alert_id BIGINT NOT NULL REFERENCES alert (id),
    PRIMARY KEY (notification_id, alert_id)
){clustered};

CREATE INDEX notification_of_alert ON notification_alert (alert_id);

-- Maintenance windows: within one, nothing is notified of what is in its scope. scope: all, department, agent; name: which.
CREATE TABLE maintenance (
    id {serial},
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    department TEXT NOT NULL,
    from_at BIGINT NOT NULL,
    until_at BIGINT NOT NULL,
    why TEXT NOT NULL,
    opened_by TEXT NOT NULL,
    opened_at BIGINT NOT NULL,
    closed_by TEXT NOT NULL,
    closed_at BIGINT NOT NULL
);

CREATE INDEX maintenance_until ON maintenance (until_at);

-- Which process watches and notifies, and until when unless it says so again.
CREATE TABLE alert_lease (
    one BIGINT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    until_at BIGINT NOT NULL
);

INSERT INTO alert_lease (one, holder, until_at) VALUES (1, '', 0);
