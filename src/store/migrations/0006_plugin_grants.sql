CREATE TABLE plugin_grants (
    plugin      TEXT PRIMARY KEY NOT NULL,
    permissions TEXT NOT NULL,    -- JSON: what was granted
    granted_at  INTEGER NOT NULL, -- Unix, ms
    granted_by  TEXT              -- the user's or key's id; null: the operator of this machine
) STRICT, WITHOUT ROWID;
