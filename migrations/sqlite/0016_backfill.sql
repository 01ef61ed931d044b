-- Jobs that fetch the past, and their parts. `json` holds the whole of either. A part's `file` is 1 for the file of an
-- hour, which comes before conversations; `outcome` is NULL while it is open.

CREATE TABLE backfills (
    tenant INTEGER NOT NULL,
    id     BLOB NOT NULL,
    state  INTEGER NOT NULL,
    json   TEXT NOT NULL,
    PRIMARY KEY (tenant, id)
) WITHOUT ROWID;
CREATE INDEX backfills_open ON backfills (tenant, id) WHERE state <= 2;

CREATE TABLE backfill_items (
    tenant  INTEGER NOT NULL,
    job     BLOB NOT NULL,
    name    TEXT NOT NULL,
    file    INTEGER NOT NULL,
    rank    INTEGER NOT NULL,
    outcome TEXT,
    json    TEXT NOT NULL,
    PRIMARY KEY (tenant, job, name)
) WITHOUT ROWID;
CREATE INDEX backfill_items_next ON backfill_items (tenant, job, file DESC, rank DESC, name) WHERE outcome IS NULL;
CREATE INDEX backfill_items_ended ON backfill_items (tenant, job, outcome, name) WHERE outcome IS NOT NULL;
