-- Messages that left for the archive. Their rows stay in the journal with key, id, place and sequence and without
-- content (`json` is empty), so that a message that comes again is known.

-- A tenant with a row here has an archive. Up to `generation` its list of files is settled in this database.
CREATE TABLE archives (
    tenant     INTEGER PRIMARY KEY,
    generation INTEGER NOT NULL DEFAULT 0
);

-- On which days, counted from 1970 in UTC, the archive has messages of a conversation.
CREATE TABLE archived_days (
    tenant       INTEGER NOT NULL,
    conversation INTEGER NOT NULL,
    day          INTEGER NOT NULL,
    messages     INTEGER NOT NULL,
    PRIMARY KEY (tenant, conversation, day)
) WITHOUT ROWID;

-- What became of archived messages since their files were written. Without `json`: recalled.
CREATE TABLE archive_changes (
    place        INTEGER PRIMARY KEY,
    tenant       INTEGER NOT NULL,
    conversation INTEGER NOT NULL,
    day          INTEGER NOT NULL,
    message      BLOB NOT NULL,
    revision     INTEGER NOT NULL,
    json         BLOB
);
CREATE INDEX archive_changes_day ON archive_changes (tenant, conversation, day);

-- How far the last import of a tenant has come, as JSON.
CREATE TABLE imports (
    tenant INTEGER PRIMARY KEY,
    mark   TEXT NOT NULL
);
