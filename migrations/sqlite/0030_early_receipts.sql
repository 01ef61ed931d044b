-- Receipts that came before anybody knew their message to be a send's: of each message the vendor names, one row for
-- each kind, until the send is known by that id.

CREATE TABLE early_receipts (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant INTEGER NOT NULL,
    app    INTEGER NOT NULL,
    vendor TEXT NOT NULL,
    kind   INTEGER NOT NULL,
    at     INTEGER NOT NULL
);
CREATE UNIQUE INDEX early_receipts_key ON early_receipts (tenant, app, vendor, kind);
CREATE INDEX early_receipts_app ON early_receipts (app, id);
