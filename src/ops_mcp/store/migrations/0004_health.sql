-- Health: where each probe stands, its changes, and how many of its findings in each hour were good.

CREATE TABLE health_probes (
    environment TEXT NOT NULL,
    service TEXT NOT NULL,
    probe TEXT NOT NULL,
    kind TEXT NOT NULL,
    -- Of the question: what was found by another one says nothing.
    digest TEXT NOT NULL,
    state TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (environment, service, probe)
) WITHOUT ROWID;

CREATE TABLE health_changes (
    id INTEGER PRIMARY KEY,
    environment TEXT NOT NULL,
    service TEXT NOT NULL,
    probe TEXT NOT NULL,
    before TEXT NOT NULL,
    state TEXT NOT NULL,
    at TEXT NOT NULL,
    evidence TEXT NOT NULL
);
CREATE INDEX health_changes_by_service ON health_changes (environment, service, id);

CREATE TABLE health_hours (
    environment TEXT NOT NULL,
    service TEXT NOT NULL,
    probe TEXT NOT NULL,
    hour TEXT NOT NULL,
    good BIGINT NOT NULL,
    asked BIGINT NOT NULL,
    PRIMARY KEY (environment, service, probe, hour)
) WITHOUT ROWID;
