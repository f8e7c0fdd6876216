CREATE TABLE downloads (
    id          TEXT    NOT NULL PRIMARY KEY,
    model       TEXT    NOT NULL,
    status      TEXT    NOT NULL,
    reason      TEXT,
    revision    TEXT,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    done_bytes  INTEGER NOT NULL,
    total_bytes INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE hub_settings (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
