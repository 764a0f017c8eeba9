-- Accounts of people, what they come in with, and the chain over the audit.
-- Of sessions, links and tokens only the SHA-256 of the secret is kept. roles, departments: JSON lists; departments may be
-- null, all of them. previous, digest: see ledger/chain.py, which also chains the entries that are there already.
ALTER TABLE audit ADD COLUMN department TEXT NOT NULL DEFAULT '';
ALTER TABLE audit ADD COLUMN previous {bytes} NOT NULL DEFAULT '';
ALTER TABLE audit ADD COLUMN digest {bytes} NOT NULL DEFAULT '';
CREATE INDEX audit_department ON audit (department, id);

CREATE TABLE audit_head (
    one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    entries BIGINT NOT NULL,
    digest {bytes} NOT NULL,
    expired BIGINT NOT NULL,
    anchor {bytes} NOT NULL
);

CREATE TABLE account (
    name TEXT NOT NULL PRIMARY KEY,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    must_change BIGINT NOT NULL,
    roles TEXT NOT NULL,
    departments TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    password_at BIGINT NOT NULL,
    last_login_at BIGINT NOT NULL,
    disabled_at BIGINT NOT NULL
);

CREATE UNIQUE INDEX account_subject ON account (issuer, subject) WHERE issuer <> '';

CREATE TABLE session (
    secret_sha256 {bytes} NOT NULL PRIMARY KEY,
    account TEXT NOT NULL REFERENCES account (name),
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    idle BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE INDEX session_account ON session (account);

CREATE TABLE login_link (
    secret_sha256 {bytes} NOT NULL PRIMARY KEY,
    account TEXT NOT NULL REFERENCES account (name),
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT NOT NULL
);

CREATE TABLE api_token (
    id {serial},
    secret_sha256 {bytes} NOT NULL UNIQUE,
    account TEXT NOT NULL REFERENCES account (name),
    label TEXT NOT NULL,
    roles TEXT NOT NULL,
    departments TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL,
    revoked_at BIGINT NOT NULL
);

CREATE TABLE login_attempt (
    subject TEXT NOT NULL PRIMARY KEY,
    failures BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    locked_until BIGINT NOT NULL
);

CREATE TABLE oidc_request (
    state_sha256 {bytes} NOT NULL PRIMARY KEY,
    browser_sha256 {bytes} NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
