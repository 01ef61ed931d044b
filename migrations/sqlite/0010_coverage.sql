-- What is known to be whole. `reason` is a stable word; `runs` is a JSON list of pairs of positions.

CREATE TABLE hours (
    tenant      INTEGER NOT NULL,
    app         INTEGER NOT NULL,
    hour        INTEGER NOT NULL,
    state       INTEGER NOT NULL,
    reason      TEXT NOT NULL,
    file_bytes  INTEGER,
    file_digest BLOB,
    file_lines  INTEGER,
    runs        TEXT NOT NULL,
    journalled  INTEGER NOT NULL,
    repaired    INTEGER NOT NULL,
    looks       INTEGER NOT NULL,
    looked_at   INTEGER NOT NULL,
    next_look   INTEGER,
    PRIMARY KEY (tenant, app, hour)
) WITHOUT ROWID;
