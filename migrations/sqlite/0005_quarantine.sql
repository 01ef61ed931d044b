-- Callbacks kept aside, a bounded number of each app. Numbers are never used twice.

CREATE TABLE quarantine (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant      INTEGER NOT NULL,
    app         INTEGER NOT NULL,
    reason      INTEGER NOT NULL,
    path        TEXT NOT NULL,
    query       TEXT NOT NULL,
    headers     TEXT NOT NULL,
    body        BLOB NOT NULL,
    received_at INTEGER NOT NULL
);
CREATE INDEX quarantine_app ON quarantine (tenant, app, id);
