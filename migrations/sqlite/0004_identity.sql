-- Whose vendor id stands for which business id, what was made at a vendor, and the business's own users and groups.

CREATE TABLE bindings (
    tenant   INTEGER NOT NULL,
    app      INTEGER NOT NULL,
    kind     INTEGER NOT NULL,
    business TEXT NOT NULL,
    vendor   TEXT NOT NULL,
    PRIMARY KEY (tenant, app, kind, business)
) WITHOUT ROWID;
CREATE UNIQUE INDEX bindings_vendor ON bindings (tenant, app, kind, vendor);

CREATE TABLE provisioned (
    tenant   INTEGER NOT NULL,
    app      INTEGER NOT NULL,
    kind     INTEGER NOT NULL,
    business TEXT NOT NULL,
    detail   TEXT NOT NULL,
    PRIMARY KEY (tenant, app, kind, business, detail)
) WITHOUT ROWID;

CREATE TABLE users (
    tenant  INTEGER NOT NULL,
    user    TEXT NOT NULL,
    profile TEXT NOT NULL,
    PRIMARY KEY (tenant, user)
) WITHOUT ROWID;

CREATE TABLE groups (
    id      INTEGER PRIMARY KEY,
    tenant  INTEGER NOT NULL,
    name    TEXT NOT NULL,
    room    INTEGER NOT NULL,
    title   TEXT NOT NULL,
    owner   TEXT NOT NULL,
    UNIQUE (tenant, name, room)
);

-- `added` keeps the order in which members came.
CREATE TABLE members (
    tenant INTEGER NOT NULL,
    grp    INTEGER NOT NULL,
    user   TEXT NOT NULL,
    added  INTEGER NOT NULL,
    PRIMARY KEY (tenant, grp, user)
) WITHOUT ROWID;
