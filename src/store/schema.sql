-- The whole schema as it stands after the newest migration. A new store is made from this file;
-- a test holds it equal to what the migrations make.

-- One row per request. The id is a UUIDv7 whose time is started_at, so the primary key is also the
-- order in time: listing and ranges need no second index, and a new row touches one page.
-- What reports read stands first. Attempts are read only with their request, so they live in its row.
CREATE TABLE requests (
    id                TEXT    NOT NULL PRIMARY KEY,
    started_at        INTEGER NOT NULL,
    status            TEXT    NOT NULL,
    profile           TEXT,
    model             TEXT,
    key               TEXT,
    user              TEXT,
    prompt_tokens     INTEGER,
    completion_tokens INTEGER,
    cached_tokens     INTEGER,
    reasoning_tokens  INTEGER,
    estimated         INTEGER NOT NULL,
    ttft_ms           REAL,
    decode_tps        REAL,
    duration_ms       REAL,
    endpoint          TEXT    NOT NULL,
    requested_model   TEXT,
    streamed          INTEGER NOT NULL,
    http_status       INTEGER NOT NULL,
    error_code        TEXT,
    error_message     TEXT,
    finish_reason     TEXT,
    client_request_id TEXT,
    queue_ms          REAL,
    start_ms          REAL,
    warnings          TEXT,
    attempts          TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX requests_running ON requests (id) WHERE status = 'running';
CREATE INDEX requests_client ON requests (client_request_id) WHERE client_request_id IS NOT NULL;

-- What ended requests used, added up, so that reports need not read every one: by quarter-hours (kind
-- time) and, by key, user, profile and model, by days (UTC). Written in the transactions that write the
-- requests. The figures are varints: see src/store/rollup.
CREATE TABLE usage_sums (
    -- The account whose requests alone are meant; empty: everybody's.
    owner   TEXT    NOT NULL,
    kind    TEXT    NOT NULL,
    start   INTEGER NOT NULL,
    name    TEXT    NOT NULL,
    figures BLOB    NOT NULL,
    PRIMARY KEY (owner, kind, start, name)
) STRICT, WITHOUT ROWID;

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
    last_login_at INTEGER,
    -- A JSON list; null: all.
    tools         TEXT
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
    priority            INTEGER NOT NULL,
    created_at          INTEGER NOT NULL,
    last_used_at        INTEGER,
    revoked_at          INTEGER,
    -- A JSON object, read by auth.
    limits              TEXT    NOT NULL DEFAULT '{}'
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

-- Profiles made through the API. The settings are a JSON object with the keys of config.toml, so that
-- a new key needs no new column; they are checked whenever they are read.
CREATE TABLE profiles (
    name       TEXT    NOT NULL PRIMARY KEY,
    settings   TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row per download, so that one that was cut off goes on after a restart.
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

-- What an operator has set for the hub: its token.
CREATE TABLE hub_settings (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The most memory that backends with some launch settings were seen to use. The settings stand there
-- as a digest.
CREATE TABLE measured_memory (
    settings    TEXT    NOT NULL PRIMARY KEY,
    bytes       INTEGER NOT NULL,
    measured_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE plugin_grants (
    plugin      TEXT PRIMARY KEY NOT NULL,
    permissions TEXT NOT NULL,    -- JSON: what was granted
    granted_at  INTEGER NOT NULL, -- Unix, ms
    granted_by  TEXT,             -- the user's or key's id; null: the operator of this machine
    digest      TEXT,             -- SHA-256 of the component; null with path: from before that was noted
    path        TEXT              -- below the plugin directory
) STRICT, WITHOUT ROWID;

-- Conversations of the chat page, each seen by its owner alone.
CREATE TABLE chats (
    id         TEXT    NOT NULL PRIMARY KEY,
    owner      TEXT    NOT NULL, -- the account's id; empty: the operator of this machine
    title      TEXT    NOT NULL,
    profile    TEXT    NOT NULL,
    leaf       TEXT,             -- the last message of the branch that is shown
    created_at INTEGER NOT NULL, -- Unix, ms
    updated_at INTEGER NOT NULL,
    bytes      INTEGER NOT NULL DEFAULT 0 -- of its messages
) STRICT, WITHOUT ROWID;
CREATE INDEX chats_of_owner ON chats (owner, updated_at, bytes);

CREATE TABLE chat_messages (
    chat    TEXT NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    id      TEXT NOT NULL,
    parent  TEXT,
    text    TEXT NOT NULL, -- what a search looks into
    content TEXT NOT NULL, -- JSON: the message as the page wrote it
    PRIMARY KEY (chat, id)
) STRICT;

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

-- Responses that clients may go on from, each seen by its owner alone.
CREATE TABLE responses (
    id         TEXT    NOT NULL PRIMARY KEY,
    owner      TEXT    NOT NULL, -- the account's or key's id; empty: the operator of this machine
    previous   TEXT,             -- the response that this one goes on from
    created_at INTEGER NOT NULL, -- Unix, ms
    bytes      INTEGER NOT NULL, -- of the response and its items
    response   TEXT    NOT NULL  -- JSON
) STRICT, WITHOUT ROWID;
CREATE INDEX responses_of_owner ON responses (owner, created_at, bytes);
CREATE INDEX responses_by_previous ON responses (previous) WHERE previous IS NOT NULL;

CREATE TABLE response_items (
    response TEXT    NOT NULL REFERENCES responses (id) ON DELETE CASCADE,
    place    INTEGER NOT NULL, -- in the conversation: input first, output behind it
    id       TEXT    NOT NULL,
    input    INTEGER NOT NULL, -- 1: sent by the client
    item     TEXT    NOT NULL, -- JSON
    PRIMARY KEY (response, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX response_items_by_id ON response_items (id);

-- Responses that are made while their clients may be away. What stands here when a store is opened was cut off.
CREATE TABLE responses_under_way (
    response TEXT NOT NULL PRIMARY KEY REFERENCES responses (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
