-- What is known of the times of single conversations: ranges that do not overlap. The conversation stands by its name,
-- since something can be known of one in which nothing ever happened here.

CREATE TABLE ranges (
    tenant       INTEGER NOT NULL,
    app          INTEGER NOT NULL,
    conversation TEXT NOT NULL,
    since        INTEGER NOT NULL,
    until        INTEGER NOT NULL,
    state        INTEGER NOT NULL,
    reason       TEXT NOT NULL,
    checked_at   INTEGER NOT NULL,
    PRIMARY KEY (tenant, app, conversation, since)
) WITHOUT ROWID;
CREATE INDEX ranges_incomplete ON ranges (tenant, app, conversation, since) WHERE state <> 0;
