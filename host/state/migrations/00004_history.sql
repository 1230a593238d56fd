-- +goose Up
-- What the host knows of jobs, so that it can tell of them before a plugin does.
CREATE TABLE jobs (
    id     BIGINT  NOT NULL PRIMARY KEY,
    series BIGINT  NOT NULL, -- the rest that the ids of a plugin leave, 0 for the host's own
    rev    BIGINT  NOT NULL, -- higher after each change of any job of the series
    final  BOOLEAN NOT NULL,
    data   TEXT    NOT NULL  -- the job with its audience, JSON, without secrets
);
CREATE INDEX jobs_by_series ON jobs (series, final, rev);

-- +goose Down
DROP TABLE jobs;
