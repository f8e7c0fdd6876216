-- Who may do what. Times are milliseconds since 1970, UTC; ids are UUIDv7.
CREATE TABLE users (
    id            TEXT    NOT NULL PRIMARY KEY,
    -- Lower case.
    email         TEXT    NOT NULL UNIQUE,
    -- In PHC form.
    password      TEXT    NOT NULL,
    role          TEXT    NOT NULL,
    status        TEXT    NOT NULL,
    -- Tokens of an earlier version are void.
    version       INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    last_login_at INTEGER
) STRICT, WITHOUT ROWID;

-- Digests only: what was handed out cannot be read back. Revoked keys stay, so that usage keeps its names.
CREATE TABLE api_keys (
    id                  TEXT    NOT NULL PRIMARY KEY,
    user                TEXT,
    name                TEXT    NOT NULL,
    digest              BLOB    NOT NULL UNIQUE,
    -- The digest before the last rotation, and until when it counts.
    old_digest          BLOB,
    old_until           INTEGER,
    -- The first characters, to tell keys apart.
    prefix              TEXT    NOT NULL,
    scopes              TEXT    NOT NULL,
    -- JSON lists; null: all.
    profiles            TEXT,
    tools               TEXT,
    expires_at          INTEGER,
    requests_per_minute INTEGER,
    tokens_per_minute   INTEGER,
    parallel            INTEGER,
    tokens_per_day      INTEGER,
    tokens_per_month    INTEGER,
    priority            INTEGER NOT NULL,
    created_at          INTEGER NOT NULL,
    last_used_at        INTEGER,
    revoked_at          INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
    id         TEXT    NOT NULL PRIMARY KEY,
    -- One of the two: an account, or the key it was traded for.
    user       TEXT,
    key        TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    address    TEXT,
    agent      TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE reset_links (
    digest     BLOB    NOT NULL PRIMARY KEY,
    user       TEXT    NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Who did what to whom, when and from where. The id's time is `at`, as with requests.
CREATE TABLE audit (
    id         TEXT    NOT NULL PRIMARY KEY,
    at         INTEGER NOT NULL,
    actor      TEXT    NOT NULL,
    actor_name TEXT    NOT NULL,
    via        TEXT    NOT NULL,
    action     TEXT    NOT NULL,
    target     TEXT,
    status     INTEGER NOT NULL,
    address    TEXT,
    request    TEXT
) STRICT, WITHOUT ROWID;
