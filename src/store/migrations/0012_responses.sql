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
