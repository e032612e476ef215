-- What the load guard knows of each host: `gauges` is JSON, `level` the last one that the ledger was told.
CREATE TABLE guard_hosts (
    host TEXT PRIMARY KEY,
    level TEXT NOT NULL,
    read_at TEXT NOT NULL,
    gauges TEXT NOT NULL
);
-- Changes that were committed for a host. One is in flight while its deployment holds its place's lock.
CREATE TABLE guard_flights (
    deployment TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    incident INTEGER NOT NULL
);

-- Times of trouble with an alert whose rule names a remedy. The newest of a fingerprint may open again.
CREATE TABLE incidents (
    id TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    environment TEXT NOT NULL,
    service TEXT,
    rule TEXT NOT NULL,
    began_at TEXT NOT NULL,
    fired_at TEXT NOT NULL,
    resolved_at TEXT,
    escalated_at TEXT
);
CREATE INDEX incidents_by_alert ON incidents (fingerprint, fired_at);
CREATE INDEX incidents_by_end ON incidents (resolved_at);
-- One row for each attempt of the worker's, written before it is submitted. `key` is its idempotency key.
CREATE TABLE healing_attempts (
    key TEXT PRIMARY KEY,
    incident TEXT NOT NULL,
    number INTEGER NOT NULL,
    remedy TEXT NOT NULL,
    environment TEXT NOT NULL,
    service TEXT NOT NULL,
    agent TEXT NOT NULL,
    at TEXT NOT NULL,
    outcome TEXT NOT NULL,
    finished_at TEXT,
    deployment TEXT,
    approval TEXT,
    detail TEXT NOT NULL DEFAULT ''
);
CREATE INDEX healing_attempts_by_place ON healing_attempts (environment, service, at);
CREATE INDEX healing_attempts_by_outcome ON healing_attempts (outcome);
