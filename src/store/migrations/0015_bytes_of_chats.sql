-- Bytes of each conversation's messages, so that what an owner has is a sum over one index.
ALTER TABLE chats ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
UPDATE chats SET bytes = (SELECT coalesce(sum(octet_length(text) + octet_length(content)), 0)
    FROM chat_messages WHERE chat = chats.id);
DROP INDEX chats_of_owner;
CREATE INDEX chats_of_owner ON chats (owner, updated_at, bytes);
