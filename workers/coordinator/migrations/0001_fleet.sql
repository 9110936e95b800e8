-- Nodes, jobs, attempts, and the outbox. Times are microseconds since 1970 in UTC; columns that are said to be JSON hold what
-- stands on the wire.

CREATE TABLE nodes (
    id            TEXT PRIMARY KEY NOT NULL,
    name          TEXT UNIQUE,
    site          TEXT NOT NULL,
    rack          TEXT NOT NULL,
    enrolment     TEXT NOT NULL,
    driver_info   TEXT NOT NULL,            -- JSON
    properties    TEXT NOT NULL,            -- JSON
    -- The agent, as far as one has been heard.
    boot_id       TEXT,
    past_boots    TEXT NOT NULL DEFAULT '[]', -- JSON: the boots before it, newest last; they speak no more
    agent_version TEXT,
    hostname      TEXT,
    agent_state   TEXT,                     -- JSON
    running       TEXT,                     -- JSON
    last_seen_at  INTEGER,
    alive         INTEGER NOT NULL DEFAULT 0,
    alive_since   INTEGER,                  -- when it was first heard after a silence
    inventory     TEXT,                     -- JSON
    inspected_at  INTEGER,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL
);

CREATE TABLE jobs (
    number          INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of submission
    id              TEXT NOT NULL UNIQUE,
    node_id         TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    verb            TEXT NOT NULL,
    request         TEXT NOT NULL,          -- JSON, as submitted: tells a repeated request from another one
    work            TEXT NOT NULL,          -- JSON
    state           TEXT NOT NULL,
    state_since     INTEGER NOT NULL,
    wait_until      INTEGER,                -- when the present state ends by itself
    not_before      INTEGER NOT NULL,       -- no attempt begins earlier
    attempt         INTEGER NOT NULL DEFAULT 0,
    retry           TEXT NOT NULL,          -- JSON
    idempotency_key TEXT UNIQUE,
    submitted_by    TEXT NOT NULL,
    error           TEXT,                   -- JSON
    progress        TEXT,                   -- JSON
    output          TEXT,                   -- JSON
    lease_until     INTEGER,
    created_at      INTEGER NOT NULL,
    started_at      INTEGER,
    finished_at     INTEGER,
    deadline        INTEGER NOT NULL
);
CREATE INDEX jobs_by_node ON jobs (node_id, state);
CREATE INDEX jobs_by_state ON jobs (state);
-- One operation at a time on a node.
CREATE UNIQUE INDEX one_active_job_a_node ON jobs (node_id)
    WHERE state IN ('dispatched', 'running', 'interrupted', 'cancelling');

CREATE TABLE attempts (
    job_id        TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    number        INTEGER NOT NULL,         -- the fencing number
    command_id    TEXT NOT NULL UNIQUE,
    boot_id       TEXT NOT NULL,
    state         TEXT NOT NULL,
    dispatched_at INTEGER NOT NULL,
    accepted_at   INTEGER,
    finished_at   INTEGER,
    last_sequence INTEGER NOT NULL DEFAULT 0,
    error         TEXT,                     -- JSON
    steps         TEXT NOT NULL DEFAULT '[]', -- JSON
    PRIMARY KEY (job_id, number)
);

CREATE TABLE outbox (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    item TEXT NOT NULL                      -- JSON
);

-- Written to find out whether the store can be written.
CREATE TABLE probe (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    written_at INTEGER NOT NULL
);
INSERT INTO probe (id, written_at) VALUES (1, 0);
