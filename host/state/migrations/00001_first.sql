-- +goose Up
CREATE TABLE counters (
    name  VARCHAR(64) NOT NULL PRIMARY KEY,
    value BIGINT      NOT NULL
);

CREATE TABLE users (
    id        BIGINT       NOT NULL PRIMARY KEY,
    name      VARCHAR(255) NOT NULL UNIQUE,
    full_name VARCHAR(255) NOT NULL,
    roles     TEXT         NOT NULL, -- a JSON array of names
    created   BIGINT       NOT NULL  -- seconds since 1970
);

-- An API key is kept as a verifier of SCRAM-SHA-512 (RFC 5802): the key itself cannot be had back from it.
CREATE TABLE api_keys (
    id         BIGINT       NOT NULL PRIMARY KEY,
    user_id    BIGINT       NOT NULL REFERENCES users (id),
    name       VARCHAR(255) NOT NULL,
    salt       VARCHAR(255) NOT NULL, -- this and the keys in base64
    iterations BIGINT       NOT NULL,
    stored_key VARCHAR(255) NOT NULL,
    server_key VARCHAR(255) NOT NULL,
    created    BIGINT       NOT NULL,
    UNIQUE (user_id, name)
);

-- A plugin keeps its series of job ids for ever, and its methods are known while it is down.
CREATE TABLE plugins (
    name    VARCHAR(255) NOT NULL PRIMARY KEY,
    series  BIGINT       NOT NULL UNIQUE,
    offered TEXT         NOT NULL -- methods and events as it registered them, JSON
);

-- +goose Down
DROP TABLE plugins;
DROP TABLE api_keys;
DROP TABLE users;
DROP TABLE counters;
