-- +goose Up
-- Times are nanoseconds since 1970 in UTC, 0 for none. Sealed columns are base64, empty for none.

CREATE TABLE counters (
    name  TEXT   NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);

CREATE TABLE tasks (
    id      BIGINT  NOT NULL PRIMARY KEY,
    name    TEXT    NOT NULL UNIQUE,
    enabled BOOLEAN NOT NULL,
    data    TEXT    NOT NULL,
    secret  TEXT    NOT NULL -- sealed
);

CREATE TABLE task_states (
    task_id BIGINT NOT NULL PRIMARY KEY REFERENCES tasks (id) ON DELETE CASCADE,
    data    TEXT   NOT NULL
);

CREATE TABLE credentials (
    id         BIGINT NOT NULL PRIMARY KEY,
    name       TEXT   NOT NULL UNIQUE,
    type       TEXT   NOT NULL,
    attributes TEXT   NOT NULL -- sealed
);

CREATE TABLE jobs (
    id       BIGINT NOT NULL PRIMARY KEY,
    state    TEXT   NOT NULL,
    finished BIGINT NOT NULL,
    data     TEXT   NOT NULL
);

-- Runs outlive their tasks and jobs, so they refer to neither.
CREATE TABLE runs (
    id        BIGINT  NOT NULL PRIMARY KEY,
    task_id   BIGINT  NOT NULL,
    job_id    BIGINT  NOT NULL,
    started   BIGINT  NOT NULL,
    finished  BIGINT  NOT NULL,
    outcome   TEXT    NOT NULL,
    message   TEXT    NOT NULL,
    bytes     BIGINT  NOT NULL,
    snapshots BIGINT  NOT NULL,
    datasets  BIGINT  NOT NULL,
    restarted BOOLEAN NOT NULL
);

CREATE INDEX runs_of_task ON runs (task_id, id);
CREATE INDEX runs_by_finish ON runs (finished);
