-- The journal and what is derived from it.
--
-- Tenants, apps and conversations are written out once and referred to by number. The tenant leads every key; apps
-- alone stand for themselves, since a vendor's application is the same whoever uses it.

CREATE TABLE tenants (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

CREATE TABLE apps (
    id   INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    key  TEXT NOT NULL,
    UNIQUE (kind, key)
);

-- One for each tenant and shard. `tail` never goes back, not even when every row is trimmed. Up to `indexed` the
-- indexes by conversation hold everything.
CREATE TABLE streams (
    id           INTEGER PRIMARY KEY,
    tenant       INTEGER NOT NULL,
    shard        INTEGER NOT NULL,
    tail         INTEGER NOT NULL,
    trimmed      INTEGER NOT NULL,
    received_max INTEGER NOT NULL,
    indexed      INTEGER NOT NULL DEFAULT 0,
    UNIQUE (tenant, shard)
);

-- `last_sequence` and `last_at` speak of trimmed rows only: what is newer is read from the journal, so that an
-- append does not have to touch its conversation.
CREATE TABLE conversations (
    id            INTEGER PRIMARY KEY,
    tenant        INTEGER NOT NULL,
    name          TEXT NOT NULL,
    last_sequence INTEGER NOT NULL DEFAULT 0,
    last_at       INTEGER NOT NULL DEFAULT 0,
    UNIQUE (tenant, name)
);

-- `place` is the stream's number times 2^40 plus the position: a stream lies together and in order, which makes
-- reading on a scan and appending a write at its end. `received_max` is the latest `received_at` up to here; it only
-- rises, so that a time can be looked up by halving. `app` is 0 for events of Switchboard itself. `head` is what a reader is given
-- beside `json`, in one value (src/store/sqlite/head.rs).
CREATE TABLE journal (
    place        INTEGER PRIMARY KEY,
    tenant       INTEGER NOT NULL,
    conversation INTEGER,
    sequence     INTEGER,
    app          INTEGER NOT NULL,
    class        INTEGER NOT NULL,
    key          TEXT NOT NULL,
    digest       INTEGER NOT NULL,
    origin       INTEGER NOT NULL,
    sent_at      INTEGER NOT NULL,
    received_max INTEGER NOT NULL,
    message      BLOB,
    sort_key     TEXT NOT NULL,
    sender       TEXT,
    body         TEXT,
    head         BLOB NOT NULL,
    json         BLOB NOT NULL
);

-- One vendor event, one row, whatever its source.
CREATE UNIQUE INDEX journal_key ON journal (tenant, app, class, key);
CREATE INDEX journal_message ON journal (tenant, message) WHERE message IS NOT NULL;
-- Which conversations have something to catch up on, without reading the events.
CREATE INDEX journal_walk ON journal (tenant, place, conversation, sequence) WHERE conversation IS NOT NULL;

-- The indexes by conversation. They are tables because they are written behind the journal, many events of one
-- conversation at a time: kept up to date with each event they would cost more than the journal itself, and ever more
-- as it grows. Whoever reads them must know what they lack (src/store/sqlite/behind.rs).
CREATE TABLE threads (
    tenant       INTEGER NOT NULL,
    conversation INTEGER NOT NULL,
    sequence     INTEGER NOT NULL,
    place        INTEGER NOT NULL,
    PRIMARY KEY (tenant, conversation, sequence)
) WITHOUT ROWID;

-- Messages in the order of the vendor's clock.
CREATE TABLE histories (
    tenant       INTEGER NOT NULL,
    conversation INTEGER NOT NULL,
    sent_at      INTEGER NOT NULL,
    sort_key     TEXT NOT NULL,
    message      BLOB NOT NULL,
    place        INTEGER NOT NULL,
    PRIMARY KEY (tenant, conversation, sent_at, sort_key, message, place)
) WITHOUT ROWID;

-- Apart from the journal, so that replaying does not read them.
CREATE TABLE raws (
    place INTEGER PRIMARY KEY,
    raw   BLOB NOT NULL
);

-- Other contents seen under a key already journalled.
CREATE TABLE variants (
    place       INTEGER NOT NULL,
    digest      INTEGER NOT NULL,
    origin      INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    raw         BLOB,
    PRIMARY KEY (place, digest)
);

-- Recalls whose message has not come. `message` is the id the recall knows it by, if it knows one.
CREATE TABLE awaited (
    id      INTEGER PRIMARY KEY,
    tenant  INTEGER NOT NULL,
    app     INTEGER NOT NULL,
    vendor  TEXT,
    message BLOB
);
CREATE INDEX awaited_vendor ON awaited (tenant, app, vendor) WHERE vendor IS NOT NULL;
CREATE INDEX awaited_message ON awaited (tenant, message) WHERE message IS NOT NULL;

CREATE TABLE inboxes (
    inbox    TEXT PRIMARY KEY,
    consumed INTEGER NOT NULL
);

CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
);
