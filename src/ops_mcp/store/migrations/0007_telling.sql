-- The outside's own name for the first message of each thread, which every later one answers to.
CREATE TABLE outbox_threads (
    channel TEXT NOT NULL,
    thread TEXT NOT NULL,
    outside TEXT NOT NULL,
    PRIMARY KEY (channel, thread)
);
