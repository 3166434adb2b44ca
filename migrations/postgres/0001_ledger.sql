-- The ledger: the log, its tree heads, and what is written in the transaction of an append.

-- The first seven columns after the position, and their types, are what postgres-es reads. Never
-- jsonb, which changes the bytes that a leaf commits to, and never int4, which makes it panic.
CREATE TABLE events (
    position       bigint PRIMARY KEY,
    aggregate_type text   NOT NULL,
    aggregate_id   text   NOT NULL,
    sequence       bigint NOT NULL,
    event_type     text   NOT NULL,
    event_version  text   NOT NULL,
    payload        json   NOT NULL,
    metadata       json   NOT NULL,
    recorded_at    bigint NOT NULL,
    leaf           bytea  NOT NULL,
    blob_digest    bytea,
    connection     text,
    actor          text,
    agent          text,
    CONSTRAINT events_stream UNIQUE (aggregate_type, aggregate_id, sequence)
);

COMMENT ON TABLE events IS 'What happened, in one order without gaps. Append-only.';
COMMENT ON COLUMN events.recorded_at IS 'Microseconds since the Unix epoch; never decreases with the position.';
COMMENT ON COLUMN events.leaf IS 'RFC 6962 leaf hash of the event''s canonical bytes.';
COMMENT ON COLUMN events.blob_digest IS 'SHA-256 of the sealed blob beside the event; outlives the blob.';

-- Auditors ask by connection, and by rare event types; a rebuild skips what changes no state.
CREATE INDEX events_connection ON events (connection, position) WHERE connection IS NOT NULL;
CREATE INDEX events_type ON events (event_type, position) WHERE event_type <> 'credential.retrieved';
CREATE INDEX events_state ON events (position) WHERE aggregate_type <> 'access';

CREATE TABLE sealed_blobs (
    position bigint PRIMARY KEY,
    blob     bytea  NOT NULL
);

COMMENT ON TABLE sealed_blobs IS 'Ciphertext beside an event; deleted once it is superseded.';

CREATE TABLE snapshots (
    aggregate_type   text   NOT NULL,
    aggregate_id     text   NOT NULL,
    last_sequence    bigint NOT NULL,
    current_snapshot bigint NOT NULL,
    payload          json   NOT NULL,
    PRIMARY KEY (aggregate_type, aggregate_id)
);

-- One row per batch: a single row updated at every batch slows down while any old snapshot is open.
CREATE TABLE log_heads (
    size        bigint PRIMARY KEY,
    frontier    bytea  NOT NULL,
    recorded_at bigint NOT NULL
);

COMMENT ON COLUMN log_heads.frontier IS 'Roots of the perfect subtrees, largest first, 32 bytes each.';

CREATE TABLE checkpoints (
    size bigint PRIMARY KEY,
    note text   NOT NULL
);

COMMENT ON TABLE checkpoints IS 'Signed tree heads (C2SP signed note).';

CREATE TABLE data_keys (
    key_id      text   PRIMARY KEY,
    stream_type text   NOT NULL,
    stream_id   text   NOT NULL,
    kek_id      text   NOT NULL,
    wrapped     bytea  NOT NULL,
    created_at  bigint NOT NULL
);

COMMENT ON TABLE data_keys IS 'Wrapped data keys; deleting one erases every secret sealed under it.';

CREATE TABLE unique_names (
    scope     text NOT NULL,
    name      text NOT NULL,
    stream_id text NOT NULL,
    PRIMARY KEY (scope, name)
);

CREATE TABLE projections (
    name       text   PRIMARY KEY,
    version    bigint NOT NULL,
    generation bigint NOT NULL
);

COMMENT ON TABLE projections IS 'Which generation of a read model''s tables is the current one.';

-- A rebuild that is under way; it goes on here after a stop.
CREATE TABLE projection_rebuilds (
    name       text   PRIMARY KEY,
    version    bigint NOT NULL,
    generation bigint NOT NULL,
    position   bigint NOT NULL, -- the last one folded
    events     bigint NOT NULL
);

CREATE TABLE vault_settings (
    name  text PRIMARY KEY,
    value text NOT NULL
);

-- The triggers stop accidents. The tables' owner can lift them; the Merkle tree finds intent.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % is refused: it is append-only', TG_OP, TG_TABLE_NAME;
END
$$;

CREATE FUNCTION keep_newest_head() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM log_heads WHERE size > OLD.size) THEN
        RAISE EXCEPTION 'DELETE of the newest row of log_heads is refused';
    END IF;
    RETURN OLD;
END
$$;

CREATE TRIGGER events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER checkpoints_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER log_heads_unchanged BEFORE UPDATE OR TRUNCATE ON log_heads
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER log_heads_keep_newest BEFORE DELETE ON log_heads
    FOR EACH ROW EXECUTE FUNCTION keep_newest_head();
CREATE TRIGGER sealed_blobs_unchanged BEFORE UPDATE OR TRUNCATE ON sealed_blobs
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER data_keys_unchanged BEFORE UPDATE OR TRUNCATE ON data_keys
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
