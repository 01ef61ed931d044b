-- A reading of a file that has journalled something and is not over; callbacks that vendors sent again; how much each
-- app used to call back.

ALTER TABLE hours ADD COLUMN reading INTEGER;
ALTER TABLE repair_windows ADD COLUMN sent_again INTEGER NOT NULL DEFAULT 0;

CREATE TABLE traffic (
    tenant      INTEGER NOT NULL,
    app         INTEGER NOT NULL,
    hour        INTEGER NOT NULL,
    callbacks   INTEGER NOT NULL,
    watched     INTEGER NOT NULL,
    longest_gap INTEGER NOT NULL,
    PRIMARY KEY (tenant, app, hour)
) WITHOUT ROWID;
