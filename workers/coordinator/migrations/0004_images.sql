-- The catalogue of images: what is known of an image by its UUID.

CREATE TABLE images (
    id         TEXT PRIMARY KEY NOT NULL,   -- the UUID
    entry      TEXT NOT NULL,               -- JSON; sealed where there is a key, for its URLs may hold secrets
    shown      TEXT NOT NULL,               -- JSON: the same without secrets
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);
