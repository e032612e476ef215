-- The outside's own name for the first message of each thread, which every later one answers to. Outlives the notices.
CREATE TABLE outbox_threads (
    channel TEXT NOT NULL,
    thread TEXT NOT NULL,
    outside TEXT NOT NULL,
    used_at TEXT NOT NULL,
    PRIMARY KEY (channel, thread)
);
CREATE INDEX outbox_threads_by_use ON outbox_threads (used_at);

-- `doubts`: how often it was asked in vain whether this one has arrived; 0 is no doubt. `digest`: the id of the notice that
-- stands for this one.
ALTER TABLE outbox ADD COLUMN doubts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outbox ADD COLUMN digest TEXT NOT NULL DEFAULT '';
CREATE INDEX outbox_digests ON outbox (digest) WHERE digest <> '';
