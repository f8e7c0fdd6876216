-- Tools of the gateway that an account may use: a JSON list; null: all.
ALTER TABLE users ADD COLUMN tools TEXT;
