-- When each app was last served, and the times in which something may have been missed.

CREATE TABLE signs_of_life (
    tenant INTEGER NOT NULL,
    app    INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    PRIMARY KEY (tenant, app)
) WITHOUT ROWID;

CREATE TABLE repair_windows (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant    INTEGER NOT NULL,
    app       INTEGER NOT NULL,
    since     INTEGER NOT NULL,
    until     INTEGER NOT NULL,
    cause     TEXT NOT NULL,
    queried   INTEGER NOT NULL,
    repaired  INTEGER NOT NULL,
    closed_at INTEGER,
    complete  INTEGER NOT NULL
);
CREATE INDEX repair_windows_app ON repair_windows (tenant, app, id);
