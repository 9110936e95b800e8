-- What a coordinator does before a command is sent and after its result has come.

-- What the job waits for at this moment of its state, since when and until when.
ALTER TABLE jobs ADD COLUMN phase TEXT;
ALTER TABLE jobs ADD COLUMN phase_since INTEGER;
-- How often a command could not be made. Counts with the attempts.
ALTER TABLE jobs ADD COLUMN failed_preparations INTEGER NOT NULL DEFAULT 0;
-- How the machine is restarted after the newest attempt; nothing where it is not.
ALTER TABLE jobs ADD COLUMN restart TEXT;
-- The newest attempt was refused by the server of its image and waits for another URL: the status that it met.
ALTER TABLE jobs ADD COLUMN url_refused INTEGER;
-- When the URL of the image that the newest attempt has runs out, where it does.
ALTER TABLE jobs ADD COLUMN url_expires_at INTEGER;

ALTER TABLE nodes ADD COLUMN can_power INTEGER NOT NULL DEFAULT 0;

DROP INDEX one_active_job_a_node;
CREATE UNIQUE INDEX one_active_job_a_node ON jobs (node_id)
    WHERE state IN ('dispatched', 'running', 'interrupted', 'cancelling', 'finishing');
