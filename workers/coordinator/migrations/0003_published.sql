-- Files that were hashed, and are served by their content. A file that is another one now has another identity.
CREATE TABLE published (
    path         BLOB PRIMARY KEY NOT NULL,  -- bytes: a path need not be UTF-8
    identity     TEXT NOT NULL,              -- device, inode, length and times
    sha256       TEXT NOT NULL,              -- hex digits
    published_at INTEGER NOT NULL
);
CREATE INDEX published_by_identity ON published (identity);
CREATE INDEX published_by_content ON published (sha256);

-- What images of other servers were, when they were fetched into the cache of a coordinator.
CREATE TABLE fetched (
    directory BLOB NOT NULL,                 -- the cache
    source    TEXT NOT NULL,                 -- the SHA-256 of what names the image: a URL may have secrets
    validator TEXT NOT NULL,                 -- what its server said that changes when the image does
    checksum  TEXT NOT NULL,                 -- the digest that it was verified by
    sha256    TEXT NOT NULL,                 -- hex digits
    PRIMARY KEY (directory, source)
);
CREATE INDEX fetched_by_content ON fetched (directory, sha256);
