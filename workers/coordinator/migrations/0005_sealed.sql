-- Secrets are sealed where the coordinator has a key (src/vault): passwords in `nodes.driver_info` one by one, `jobs.request` and
-- `jobs.work` of deploys and commands in `outbox.item` whole.

-- What may be shown of a job's work without opening it: JSON, the same without secrets. Jobs of before have none, and are plain.
ALTER TABLE jobs ADD COLUMN shown TEXT;

-- The key under which everything stands, as far as it could be opened; null where some of it may be plain.
CREATE TABLE sealing (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    key_id TEXT
);
INSERT INTO sealing (id, key_id) VALUES (1, NULL);
