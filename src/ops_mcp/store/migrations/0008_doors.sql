-- What a door has taken already: events of Slack by their id, single-use tickets of the approval page. Forgotten after a day.
CREATE TABLE door_events (
    door TEXT NOT NULL,
    id TEXT NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (door, id)
);
-- Sessions of the approval page: `token_hash` is of the cookie; `body` is the operator's signed delegation.
CREATE TABLE door_sessions (
    token_hash TEXT PRIMARY KEY,
    operator TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    body TEXT NOT NULL
);
-- One token an operator, for reading over HTTP only. It is no credential of the MCP door and signs nothing.
CREATE TABLE operator_tokens (
    operator TEXT PRIMARY KEY,
    token_hash TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL
);
