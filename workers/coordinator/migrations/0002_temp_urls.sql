-- Temporary URLs that may be handed out again: every coordinator hands out the same one, also after a restart.

CREATE TABLE temp_urls (
    fingerprint TEXT PRIMARY KEY NOT NULL,  -- of what it is a URL, and of the key that signed it
    url         TEXT NOT NULL,              -- a secret: it opens the image to whoever has it
    expires_at  INTEGER NOT NULL            -- in seconds since 1970, as signed
);
CREATE INDEX temp_urls_by_end ON temp_urls (expires_at);
