-- The event log and what is written in one transaction with it.
-- The first seven columns of `events` are those of sqlite-es, which loads single streams from it.

CREATE TABLE events (
    position       INTEGER PRIMARY KEY CHECK (position > 0),
    aggregate_type TEXT    NOT NULL,
    aggregate_id   TEXT    NOT NULL,
    sequence       INTEGER NOT NULL CHECK (sequence > 0),
    event_type     TEXT    NOT NULL,
    event_version  TEXT    NOT NULL,
    payload        TEXT    NOT NULL,
    metadata       TEXT    NOT NULL,
    recorded_at    INTEGER NOT NULL,                                    -- microseconds since the Unix epoch
    leaf           BLOB    NOT NULL CHECK (length(leaf) = 32),          -- RFC 6962 leaf hash
    blob_digest    BLOB    CHECK (length(blob_digest) = 32),            -- SHA-256 of the row in sealed_blobs
    connection     TEXT,                                                -- what auditors filter by
    actor          TEXT,
    agent          TEXT,
    UNIQUE (aggregate_type, aggregate_id, sequence)
) STRICT;

CREATE INDEX events_by_connection ON events (connection, position) WHERE connection IS NOT NULL;
CREATE INDEX events_by_type ON events (event_type, position) WHERE event_type <> 'credential.retrieved';
CREATE INDEX events_that_change_state ON events (position) WHERE aggregate_type <> 'access';

CREATE TABLE sealed_blobs (
    position INTEGER PRIMARY KEY,
    blob     BLOB NOT NULL
) STRICT;

CREATE TABLE snapshots (
    aggregate_type   TEXT    NOT NULL,
    aggregate_id     TEXT    NOT NULL,
    last_sequence    INTEGER NOT NULL CHECK (last_sequence >= 0),
    current_snapshot INTEGER NOT NULL CHECK (current_snapshot >= 0),
    payload          TEXT    NOT NULL,
    PRIMARY KEY (aggregate_type, aggregate_id)
) STRICT, WITHOUT ROWID;

-- One row per batch; only the newest counts, old ones are deleted now and then.
CREATE TABLE log_heads (
    size        INTEGER PRIMARY KEY CHECK (size > 0),
    frontier    BLOB    NOT NULL,
    recorded_at INTEGER NOT NULL
) STRICT;

CREATE TABLE checkpoints (
    size INTEGER PRIMARY KEY CHECK (size > 0),
    note TEXT NOT NULL
) STRICT;

CREATE TABLE data_keys (
    key_id      TEXT    PRIMARY KEY,
    stream_type TEXT    NOT NULL,
    stream_id   TEXT    NOT NULL,
    kek_id      TEXT    NOT NULL,
    wrapped     BLOB    NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE unique_names (
    scope     TEXT NOT NULL,
    name      TEXT NOT NULL,
    stream_id TEXT NOT NULL,
    PRIMARY KEY (scope, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE projections (
    name       TEXT    PRIMARY KEY,
    version    INTEGER NOT NULL,
    generation INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A rebuild that is under way; it goes on here after a stop.
CREATE TABLE projection_rebuilds (
    name       TEXT    PRIMARY KEY,
    version    INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    position   INTEGER NOT NULL,                                        -- the last one folded
    events     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE vault_settings (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Append-only. These stop accidents; intent is found by the Merkle tree.
-- INSERT OR REPLACE skips DELETE triggers, so an insert over something is refused by itself.

CREATE TRIGGER events_are_not_updated BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;

CREATE TRIGGER events_are_not_deleted BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;

CREATE TRIGGER events_have_no_gaps BEFORE INSERT ON events
WHEN NEW.position IS NOT (SELECT coalesce(max(position), 0) + 1 FROM events)
  OR EXISTS (SELECT 1 FROM events WHERE aggregate_type = NEW.aggregate_type AND aggregate_id = NEW.aggregate_id AND sequence = NEW.sequence)
BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;

CREATE TRIGGER sealed_blobs_are_not_updated BEFORE UPDATE ON sealed_blobs
BEGIN SELECT RAISE(ABORT, 'sealed blobs are never changed'); END;

CREATE TRIGGER sealed_blobs_are_not_replaced BEFORE INSERT ON sealed_blobs
WHEN EXISTS (SELECT 1 FROM sealed_blobs WHERE position = NEW.position)
BEGIN SELECT RAISE(ABORT, 'sealed blobs are never changed'); END;

CREATE TRIGGER data_keys_are_not_updated BEFORE UPDATE ON data_keys
BEGIN SELECT RAISE(ABORT, 'data keys are never changed'); END;

CREATE TRIGGER data_keys_are_not_replaced BEFORE INSERT ON data_keys
WHEN EXISTS (SELECT 1 FROM data_keys WHERE key_id = NEW.key_id)
BEGIN SELECT RAISE(ABORT, 'data keys are never changed'); END;

CREATE TRIGGER log_heads_are_not_updated BEFORE UPDATE ON log_heads
BEGIN SELECT RAISE(ABORT, 'tree heads are never changed'); END;

CREATE TRIGGER log_heads_are_not_replaced BEFORE INSERT ON log_heads
WHEN EXISTS (SELECT 1 FROM log_heads WHERE size = NEW.size)
BEGIN SELECT RAISE(ABORT, 'tree heads are never changed'); END;

CREATE TRIGGER log_heads_keep_the_newest BEFORE DELETE ON log_heads
WHEN NOT EXISTS (SELECT 1 FROM log_heads WHERE size > OLD.size)
BEGIN SELECT RAISE(ABORT, 'the newest tree head is kept'); END;

CREATE TRIGGER checkpoints_are_not_deleted BEFORE DELETE ON checkpoints
BEGIN SELECT RAISE(ABORT, 'checkpoints are never changed'); END;

CREATE TRIGGER checkpoints_are_not_updated BEFORE UPDATE ON checkpoints
BEGIN SELECT RAISE(ABORT, 'checkpoints are never changed'); END;

CREATE TRIGGER checkpoints_are_not_replaced BEFORE INSERT ON checkpoints
WHEN EXISTS (SELECT 1 FROM checkpoints WHERE size = NEW.size)
BEGIN SELECT RAISE(ABORT, 'checkpoints are never changed'); END;
