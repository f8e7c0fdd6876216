-- What a key may use, as one JSON object: its members are those of auth's Limits, so that a new limit needs no column.
ALTER TABLE api_keys ADD COLUMN limits TEXT NOT NULL DEFAULT '{}';
UPDATE api_keys SET limits = json_object(
    'requests_per_minute', requests_per_minute,
    'tokens_per_minute', tokens_per_minute,
    'parallel', parallel,
    'tokens_per_day', tokens_per_day,
    'tokens_per_month', tokens_per_month);
ALTER TABLE api_keys DROP COLUMN requests_per_minute;
ALTER TABLE api_keys DROP COLUMN tokens_per_minute;
ALTER TABLE api_keys DROP COLUMN parallel;
ALTER TABLE api_keys DROP COLUMN tokens_per_day;
ALTER TABLE api_keys DROP COLUMN tokens_per_month;
