-- Profiles made through the API. The settings are a JSON object with the keys of config.toml, so that
-- a new key needs no new column; they are checked whenever they are read.
CREATE TABLE profiles (
    name       TEXT    NOT NULL PRIMARY KEY,
    settings   TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
