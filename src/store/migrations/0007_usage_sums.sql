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
