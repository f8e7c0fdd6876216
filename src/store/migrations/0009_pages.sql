-- What requests and their answers said, while an administrator has this switched on. Only a while.
CREATE TABLE captures (
    request     TEXT    NOT NULL PRIMARY KEY, -- the record's id
    captured_at INTEGER NOT NULL, -- Unix, ms
    bytes       INTEGER NOT NULL, -- of the document
    document    TEXT    NOT NULL  -- JSON
) STRICT;
CREATE INDEX captures_by_age ON captures (captured_at, request, bytes);

-- What is set while the gateway runs, as JSON documents.
CREATE TABLE settings (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Backends that somebody wants kept loaded, whatever their profiles say.
CREATE TABLE pinned_backends (
    backend   TEXT    NOT NULL PRIMARY KEY,
    pinned_at INTEGER NOT NULL -- Unix, ms
) STRICT, WITHOUT ROWID;
