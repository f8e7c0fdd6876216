-- Conversations of the chat page, each seen by its owner alone.
CREATE TABLE chats (
    id         TEXT    NOT NULL PRIMARY KEY,
    owner      TEXT    NOT NULL, -- the account's id; empty: the operator of this machine
    title      TEXT    NOT NULL,
    profile    TEXT    NOT NULL,
    leaf       TEXT,             -- the last message of the branch that is shown
    created_at INTEGER NOT NULL, -- Unix, ms
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX chats_of_owner ON chats (owner, updated_at);

CREATE TABLE chat_messages (
    chat    TEXT NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    id      TEXT NOT NULL,
    parent  TEXT,
    text    TEXT NOT NULL, -- what a search looks into
    content TEXT NOT NULL, -- JSON: the message as the page wrote it
    PRIMARY KEY (chat, id)
) STRICT;
