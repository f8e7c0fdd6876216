-- The text of a message is in its content: bytes of conversations count it once.
UPDATE chats SET bytes = (SELECT coalesce(sum(octet_length(content)), 0) FROM chat_messages WHERE chat = chats.id);
