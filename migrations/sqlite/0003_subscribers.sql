-- Subscribers of the hub and how far each has acknowledged.

CREATE TABLE subscribers (
    id      INTEGER PRIMARY KEY,
    tenant  INTEGER NOT NULL,
    name    TEXT NOT NULL,
    spec    TEXT NOT NULL,
    seen_at INTEGER NOT NULL,
    expired INTEGER NOT NULL DEFAULT 0,
    UNIQUE (tenant, name)
);

-- `acked` is a JSON list of ranges.
CREATE TABLE cursors (
    tenant     INTEGER NOT NULL,
    subscriber INTEGER NOT NULL,
    shard      INTEGER NOT NULL,
    low        INTEGER NOT NULL,
    acked      TEXT NOT NULL,
    PRIMARY KEY (tenant, subscriber, shard)
) WITHOUT ROWID;

CREATE TABLE parked (
    tenant       INTEGER NOT NULL,
    subscriber   INTEGER NOT NULL,
    conversation TEXT NOT NULL,
    shard        INTEGER NOT NULL,
    sequence     INTEGER NOT NULL,
    position     INTEGER NOT NULL,
    attempts     INTEGER NOT NULL,
    reason       TEXT NOT NULL,
    since        INTEGER NOT NULL,
    PRIMARY KEY (tenant, subscriber, conversation)
) WITHOUT ROWID;

CREATE TABLE attempts (
    tenant     INTEGER NOT NULL,
    subscriber INTEGER NOT NULL,
    shard      INTEGER NOT NULL,
    position   INTEGER NOT NULL,
    attempts   INTEGER NOT NULL,
    PRIMARY KEY (tenant, subscriber, shard, position)
) WITHOUT ROWID;
