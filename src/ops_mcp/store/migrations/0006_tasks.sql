-- Tasks of agents. `body` is the whole task; columns are what is searched. `posting` is JSON: what its thread was told last.

CREATE TABLE tasks (
    id TEXT PRIMARY KEY,
    agent TEXT NOT NULL,
    environment TEXT NOT NULL,
    state TEXT NOT NULL,
    parent TEXT,
    progress INTEGER NOT NULL CHECK (progress BETWEEN 0 AND 100),
    body TEXT NOT NULL,
    resumable TEXT NOT NULL DEFAULT '',
    posting TEXT NOT NULL DEFAULT '{}',
    post_due_at TEXT,
    created_at TEXT NOT NULL,
    checkpoint_at TEXT NOT NULL,
    completed_at TEXT
);
CREATE INDEX tasks_by_agent ON tasks (agent, id);
CREATE INDEX tasks_by_state ON tasks (state, checkpoint_at);
CREATE INDEX tasks_by_parent ON tasks (parent);
CREATE INDEX tasks_by_creation ON tasks (created_at);
CREATE INDEX tasks_to_post ON tasks (post_due_at) WHERE post_due_at IS NOT NULL;

CREATE TABLE checkpoints (
    task TEXT NOT NULL REFERENCES tasks (id),
    number INTEGER NOT NULL,
    at TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (task, number)
);
CREATE TABLE artifacts (
    task TEXT NOT NULL REFERENCES tasks (id),
    number INTEGER NOT NULL,
    at TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (task, number)
);
-- What people did to tasks: cancellations, and answers to approvals that a task waited for.
CREATE TABLE interventions (
    task TEXT NOT NULL REFERENCES tasks (id),
    number INTEGER NOT NULL,
    at TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (task, number)
);
