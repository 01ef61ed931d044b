-- What failed: tried again at `next_at`, or given up (no `next_at`) and a dead letter.

CREATE TABLE setbacks (
    number       INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant       INTEGER NOT NULL,
    kind         INTEGER NOT NULL,
    key          TEXT NOT NULL,
    app          INTEGER,
    conversation TEXT,
    next_at      INTEGER,
    reason       TEXT NOT NULL,
    attempts     INTEGER NOT NULL,
    history      TEXT NOT NULL,
    detail       TEXT NOT NULL,
    since        INTEGER NOT NULL,
    UNIQUE (tenant, kind, key)
);
CREATE INDEX setbacks_dead ON setbacks (tenant, number) WHERE next_at IS NULL;
CREATE INDEX setbacks_due ON setbacks (tenant, app, kind, next_at) WHERE next_at IS NOT NULL;

-- The attempts of a leg that failed, a JSON list.
ALTER TABLE legs ADD COLUMN history TEXT;

-- What failed before there were dead letters. 6 is the state of a leg that failed.
INSERT INTO setbacks (tenant, kind, key, app, conversation, reason, attempts, history, detail, since)
SELECT l.tenant, 0,
       lower(substr(hex(l.message), 1, 8) || '-' || substr(hex(l.message), 9, 4) || '-' ||
             substr(hex(l.message), 13, 4) || '-' || substr(hex(l.message), 17, 4) || '-' ||
             substr(hex(l.message), 21)),
       l.app, l.conversation, coalesce(l.reason, ''), l.attempts, '[]',
       json_object('order', l.id), coalesce(l.dispatched_at, s.created_at)
FROM legs l JOIN sends s ON s.id = l.send WHERE l.state = 6 ORDER BY l.id;
