-- Notices to people, stored in the transaction of what they tell of and delivered by the worker, in order of `position` within
-- a channel's thread. A row is final once it is delivered, dead, or unknown: then only `retry` takes it up again.
CREATE TABLE outbox (
    position BIGINT PRIMARY KEY,
    id TEXT NOT NULL,
    channel TEXT NOT NULL,
    thread TEXT NOT NULL,
    state TEXT NOT NULL,
    final INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    due_at TEXT NOT NULL,
    fence BIGINT NOT NULL DEFAULT 0,
    trouble TEXT NOT NULL DEFAULT '',
    outside TEXT NOT NULL DEFAULT '',
    body TEXT NOT NULL,
    enqueued_at TEXT NOT NULL,
    settled_at TEXT,
    UNIQUE (id, channel)
);
CREATE INDEX outbox_open ON outbox (channel, thread, position) WHERE final = 0;
CREATE INDEX outbox_settled ON outbox (state, settled_at) WHERE final = 1;

-- A channel's own pace: nothing is sent to it before this moment.
CREATE TABLE outbox_pauses (channel TEXT PRIMARY KEY, until TEXT NOT NULL);
