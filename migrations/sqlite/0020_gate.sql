-- The log and the timelines of the self-hosted service.
--
-- A gate is one service of one tenant. Its number leads every key below, or stands in what does: users and
-- conversations are numbered once for all gates.

CREATE TABLE gates (
    id     INTEGER PRIMARY KEY,
    tenant INTEGER NOT NULL,
    app    INTEGER NOT NULL,
    tail   INTEGER NOT NULL DEFAULT 0,
    UNIQUE (tenant, app)
);

-- A name somebody wrote or was written to. Without a profile it is not an account.
CREATE TABLE gate_users (
    id           INTEGER PRIMARY KEY,
    gate         INTEGER NOT NULL,
    name         TEXT NOT NULL,
    profile      TEXT,
    banned_until INTEGER,
    UNIQUE (gate, name)
);

-- With a title it is a group or room.
CREATE TABLE gate_conversations (
    id    INTEGER PRIMARY KEY,
    gate  INTEGER NOT NULL,
    name  TEXT NOT NULL,
    last  INTEGER NOT NULL DEFAULT 0,
    title TEXT,
    owner TEXT,
    muted INTEGER NOT NULL DEFAULT 0,
    ended INTEGER NOT NULL DEFAULT 0,
    UNIQUE (gate, name)
);

-- `place` is the gate's number times 2^40 plus the position. `shared` lines are found through membership; all others
-- have a row in `gate_inboxes` for each user who sees them.
CREATE TABLE gate_lines (
    place        INTEGER PRIMARY KEY,
    gate         INTEGER NOT NULL,
    conversation INTEGER,
    sequence     INTEGER,
    kind         INTEGER NOT NULL,
    id           BLOB NOT NULL,
    author       TEXT NOT NULL,
    client       TEXT,
    at           INTEGER NOT NULL,
    mark         TEXT,
    shared       INTEGER NOT NULL,
    recalled     INTEGER NOT NULL DEFAULT 0,
    payload      BLOB NOT NULL
);
CREATE UNIQUE INDEX gate_lines_id ON gate_lines (gate, id);
CREATE UNIQUE INDEX gate_lines_client ON gate_lines (gate, author, client) WHERE client IS NOT NULL;
CREATE UNIQUE INDEX gate_lines_sequence ON gate_lines (conversation, sequence) WHERE sequence IS NOT NULL;
CREATE INDEX gate_lines_shared ON gate_lines (conversation, place) WHERE shared = 1;

CREATE TABLE gate_inboxes (
    user  INTEGER NOT NULL,
    place INTEGER NOT NULL,
    PRIMARY KEY (user, place)
) WITHOUT ROWID;

-- From `since` to `until`, both included. Several rows for one who left and came again.
CREATE TABLE gate_members (
    conversation INTEGER NOT NULL,
    user         INTEGER NOT NULL,
    since        INTEGER NOT NULL,
    until        INTEGER,
    role         INTEGER NOT NULL DEFAULT 0,
    muted_until  INTEGER,
    PRIMARY KEY (conversation, user, since)
) WITHOUT ROWID;
CREATE INDEX gate_members_user ON gate_members (user, conversation);

CREATE TABLE gate_devices (
    user    INTEGER NOT NULL,
    device  TEXT NOT NULL,
    low     INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (user, device)
) WITHOUT ROWID;

CREATE TABLE gate_marks (
    conversation INTEGER NOT NULL,
    user         INTEGER NOT NULL,
    delivered    INTEGER NOT NULL,
    read         INTEGER NOT NULL,
    PRIMARY KEY (conversation, user)
) WITHOUT ROWID;
