-- Responses that are made while their clients may be away. What stands here when a store is opened was cut off.
CREATE TABLE responses_under_way (
    response TEXT NOT NULL PRIMARY KEY REFERENCES responses (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
