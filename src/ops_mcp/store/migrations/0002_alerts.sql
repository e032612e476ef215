-- Alert rules, where they stand, and the alerts of ours and of others. `version` grows with every write of a rule: whoever
-- evaluates asks for what is newer than what it has. A deleted rule stays for the history, and its name may be used again.

CREATE TABLE alert_rules (
    environment TEXT NOT NULL,
    name TEXT NOT NULL,
    service TEXT,
    severity INTEGER NOT NULL,
    digest TEXT NOT NULL,
    body TEXT NOT NULL,
    version BIGINT NOT NULL,
    set_by TEXT NOT NULL,
    set_at TEXT NOT NULL,
    deleted_by TEXT,
    deleted_at TEXT,
    PRIMARY KEY (environment, name)
) WITHOUT ROWID;
CREATE INDEX alert_rules_by_version ON alert_rules (version);

-- Only rules that have alerts, or whose evaluation failed: then `evaluated_at` is the last one that succeeded. When the others were
-- evaluated is the mark `round`.
CREATE TABLE alert_progress (
    environment TEXT NOT NULL,
    name TEXT NOT NULL,
    error TEXT NOT NULL,
    evaluated_at TEXT,
    body TEXT NOT NULL,
    PRIMARY KEY (environment, name)
) WITHOUT ROWID;
CREATE TABLE alert_marks (name TEXT PRIMARY KEY, value TEXT NOT NULL);

-- One row per time that an alert began: pending, firing, resolved. `severity` is the rank, 0 the worst; `ends_at` is set where a
-- source ends its alerts by not sending them again.
CREATE TABLE alerts (
    id TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    environment TEXT NOT NULL,
    rule TEXT NOT NULL,
    source TEXT NOT NULL,
    service TEXT,
    state TEXT NOT NULL,
    severity INTEGER NOT NULL,
    pending_at TEXT NOT NULL,
    fired_at TEXT,
    resolved_at TEXT,
    ends_at TEXT,
    acknowledgement TEXT,
    false_positive INTEGER NOT NULL DEFAULT 0,
    body TEXT NOT NULL
);
CREATE UNIQUE INDEX alerts_open ON alerts (fingerprint) WHERE state <> 'resolved';
CREATE INDEX alerts_by_fingerprint ON alerts (fingerprint, pending_at);
CREATE INDEX alerts_by_place ON alerts (environment, state, severity, pending_at);
CREATE INDEX alerts_by_rule ON alerts (environment, rule, state);
CREATE INDEX alerts_by_end ON alerts (state, ends_at);
CREATE INDEX alerts_resolved ON alerts (resolved_at);
CREATE TABLE alert_events (
    alert TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    at TEXT NOT NULL,
    event TEXT NOT NULL,
    actor TEXT NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (alert, sequence)
) WITHOUT ROWID;

CREATE TABLE silences (
    id TEXT PRIMARY KEY,
    environment TEXT NOT NULL,
    ends_at TEXT NOT NULL,
    body TEXT NOT NULL,
    ended_by TEXT
);
CREATE INDEX silences_by_end ON silences (ends_at);

-- Who is to be told what: the alerts that fire or whose end is still to be told, and the groups that they are in.
CREATE TABLE alert_board (fingerprint TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE alert_groups (
    channel TEXT NOT NULL,
    labels TEXT NOT NULL,
    next_at TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (channel, labels)
) WITHOUT ROWID;
CREATE INDEX alert_groups_due ON alert_groups (next_at);
