-- Sends and their legs. Neither is ever removed: a client's key holds for ever.

CREATE TABLE sends (
    id         INTEGER PRIMARY KEY,
    tenant     INTEGER NOT NULL,
    send       BLOB NOT NULL,
    client_id  TEXT,
    digest     BLOB NOT NULL,
    payload    BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    UNIQUE (tenant, send)
);
CREATE UNIQUE INDEX sends_client ON sends (tenant, client_id) WHERE client_id IS NOT NULL;

-- `id` is the order of acceptance. `conversation` is the name: a conversation has a number only once something
-- happened in it.
CREATE TABLE legs (
    id              INTEGER PRIMARY KEY,
    tenant          INTEGER NOT NULL,
    send            INTEGER NOT NULL,
    message         BLOB NOT NULL,
    conversation    TEXT NOT NULL,
    recipient       TEXT,
    app             INTEGER NOT NULL,
    state           INTEGER NOT NULL,
    attempts        INTEGER NOT NULL,
    next_attempt_at INTEGER NOT NULL,
    dispatched_at   INTEGER,
    reason          TEXT,
    vendor          TEXT
);
CREATE UNIQUE INDEX legs_message ON legs (tenant, message);
CREATE INDEX legs_send ON legs (tenant, send);
CREATE INDEX legs_vendor ON legs (tenant, app, vendor) WHERE vendor IS NOT NULL;
-- An app's dispatcher serves all tenants in the order of acceptance. States 0 to 2 are the open ones.
CREATE INDEX legs_open ON legs (app, id) WHERE state <= 2;
