-- The governed database. Times are ISO 8601 UTC text, truth values 0/1, JSON is text. INTEGER keys are rowids and WITHOUT ROWID
-- keeps small tables in one tree: every page a commit touches is written and checksummed once more.

CREATE TABLE ledger (
    id INTEGER PRIMARY KEY,
    body TEXT NOT NULL,
    hash TEXT NOT NULL,
    kind TEXT GENERATED ALWAYS AS (json_extract(body, '$.kind')) VIRTUAL,
    at TEXT GENERATED ALWAYS AS (json_extract(body, '$.at')) VIRTUAL,
    call TEXT GENERATED ALWAYS AS (json_extract(body, '$.call')) VIRTUAL,
    caller TEXT GENERATED ALWAYS AS (json_extract(body, '$.caller')) VIRTUAL,
    deployment TEXT GENERATED ALWAYS AS (json_extract(body, '$.deployment')) VIRTUAL
);
CREATE INDEX ledger_by_caller ON ledger (caller, id);
CREATE INDEX ledger_by_call ON ledger (call);
CREATE INDEX ledger_by_deployment ON ledger (deployment) WHERE deployment IS NOT NULL;

CREATE TABLE ledger_heads (
    id INTEGER PRIMARY KEY,
    hash TEXT NOT NULL,
    key TEXT NOT NULL,
    signature TEXT NOT NULL
);
CREATE TABLE ledger_anchored (
    anchor TEXT NOT NULL,
    id BIGINT NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (anchor, id)
);
CREATE TABLE ledger_stubs (
    first_id BIGINT PRIMARY KEY,
    last_id BIGINT NOT NULL,
    body TEXT NOT NULL
);

-- One row per name: `governance` grows whenever agents, operators, freezes or policy change; `ledger` holds the ledger's own id.
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);

CREATE TABLE operators (
    name TEXT PRIMARY KEY,
    public_key TEXT NOT NULL,
    slack_id TEXT,
    protected INTEGER NOT NULL,
    revoked_at TEXT
);
CREATE TABLE agents (
    name TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    ceiling TEXT NOT NULL,
    score INTEGER NOT NULL,
    reputation INTEGER NOT NULL,
    token_hash TEXT NOT NULL UNIQUE,
    killed INTEGER NOT NULL DEFAULT 0,
    revoked INTEGER NOT NULL DEFAULT 0,
    created_at TEXT NOT NULL
);
-- One row per agent, kind and hour or day: a penalty counts once, gains are capped.
CREATE TABLE score_marks (
    agent TEXT NOT NULL,
    kind TEXT NOT NULL,
    mark TEXT NOT NULL,
    points INTEGER NOT NULL,
    PRIMARY KEY (agent, kind, mark)
) WITHOUT ROWID;
CREATE TABLE freezes (
    environment TEXT PRIMARY KEY,
    reason TEXT NOT NULL,
    by_whom TEXT NOT NULL,
    since TEXT NOT NULL
);

-- Derived from the ledger, kept in the same transaction; `db check` rebuilds and compares.
CREATE TABLE spend (
    scope TEXT NOT NULL,
    win TEXT NOT NULL,
    calls BIGINT NOT NULL,
    tokens BIGINT NOT NULL,
    usd_micros BIGINT NOT NULL,
    warned INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (scope, win)
) WITHOUT ROWID;
-- What an admitted call still holds; a row goes when the call, and the operation it became, are settled.
CREATE TABLE reservations (
    call TEXT PRIMARY KEY,
    caller TEXT NOT NULL,
    scopes TEXT NOT NULL,
    calls BIGINT NOT NULL,
    tokens BIGINT NOT NULL,
    usd_micros BIGINT NOT NULL,
    admitted_at TEXT NOT NULL,
    holder TEXT NOT NULL,
    operation TEXT,
    call_settled INTEGER NOT NULL DEFAULT 0,
    operation_settled INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE buckets (
    caller TEXT NOT NULL,
    effect TEXT NOT NULL,
    level REAL NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (caller, effect)
) WITHOUT ROWID;
CREATE TABLE refusals (
    caller TEXT NOT NULL,
    minute TEXT NOT NULL,
    count BIGINT NOT NULL,
    written BIGINT NOT NULL,
    PRIMARY KEY (caller, minute)
) WITHOUT ROWID;

CREATE TABLE idempotency (
    agent TEXT NOT NULL,
    key TEXT NOT NULL,
    tool TEXT NOT NULL,
    digest TEXT NOT NULL,
    call TEXT NOT NULL,
    operation TEXT,
    deployment TEXT,
    result TEXT,
    bound_at TEXT NOT NULL,
    PRIMARY KEY (agent, key)
) WITHOUT ROWID;
CREATE TABLE approvals (
    id TEXT PRIMARY KEY,
    plan_digest TEXT NOT NULL,
    agent TEXT NOT NULL,
    environment TEXT NOT NULL,
    service TEXT,
    state TEXT NOT NULL,
    body TEXT NOT NULL,
    plan TEXT NOT NULL,
    call TEXT NOT NULL,
    signature TEXT,
    answer_by TEXT NOT NULL,
    use_by TEXT
);
CREATE INDEX approvals_by_plan ON approvals (agent, plan_digest, state);

CREATE TABLE operations (
    id TEXT PRIMARY KEY,
    deployment TEXT NOT NULL UNIQUE,
    call TEXT NOT NULL,
    agent TEXT NOT NULL,
    plan TEXT NOT NULL,
    fence BIGINT NOT NULL DEFAULT 0,
    final INTEGER NOT NULL DEFAULT 0,
    created_at TEXT NOT NULL
);
CREATE INDEX operations_open ON operations (final, created_at);
CREATE TABLE steps (
    operation TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    step TEXT NOT NULL,
    event TEXT NOT NULL,
    at TEXT NOT NULL,
    detail TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (operation, sequence)
);
CREATE TABLE deployments (
    id TEXT PRIMARY KEY,
    service TEXT NOT NULL,
    environment TEXT NOT NULL,
    agent TEXT NOT NULL,
    state TEXT NOT NULL,
    health TEXT NOT NULL,
    serving INTEGER NOT NULL,
    verified INTEGER NOT NULL DEFAULT 0,
    release_digest TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at TEXT NOT NULL
);
CREATE INDEX deployments_by_place ON deployments (service, environment, id);
-- One row per service and environment while a deployment holds it, from commit to the end of verify.
CREATE TABLE locks (
    service TEXT NOT NULL,
    environment TEXT NOT NULL,
    deployment TEXT NOT NULL,
    since TEXT NOT NULL,
    PRIMARY KEY (service, environment)
) WITHOUT ROWID;
CREATE TABLE leases (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    fence BIGINT NOT NULL,
    expires_at TEXT NOT NULL,
    version TEXT NOT NULL,
    body TEXT NOT NULL
);

CREATE TRIGGER ledger_no_update BEFORE UPDATE ON ledger BEGIN SELECT RAISE(ABORT, 'the ledger is append only'); END;
CREATE TRIGGER ledger_no_delete BEFORE DELETE ON ledger
WHEN NOT EXISTS (SELECT 1 FROM ledger_stubs WHERE OLD.id BETWEEN first_id AND last_id)
BEGIN SELECT RAISE(ABORT, 'the ledger is append only'); END;
CREATE TRIGGER ledger_no_replace BEFORE INSERT ON ledger WHEN EXISTS (SELECT 1 FROM ledger WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'the ledger is append only'); END;
