-- The most memory that backends with some launch settings were seen to use. The settings stand there
-- as a digest.
CREATE TABLE measured_memory (
    settings    TEXT    NOT NULL PRIMARY KEY,
    bytes       INTEGER NOT NULL,
    measured_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
