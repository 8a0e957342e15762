-- Evidence that the log was not changed. Rows are only ever added: a run of positions is sealed by one row, which holds
-- the hash of each of its events (32 bytes each, in position order) and the signed checkpoint of the tree so far.
-- Seals lie end to end, so whoever does not go on exactly where the last one ended is refused.
CREATE TABLE seals (
    after  bigint PRIMARY KEY CHECK (after >= 0),
    size   bigint NOT NULL CONSTRAINT seals_size UNIQUE CHECK (size > after),
    hashes bytea  NOT NULL CHECK (octet_length(hashes) = 32 * (size - after)),
    note   text   NOT NULL
);
-- Hashes do not compress, and single ones are cut out of them.
ALTER TABLE seals ALTER hashes SET STORAGE EXTERNAL;

-- Every eighth level of the Merkle tree, so that a proof does not take the whole log.
CREATE TABLE seal_nodes (
    level  smallint NOT NULL CHECK (level > 0),
    number bigint   NOT NULL CHECK (number >= 0),
    hash   bytea    NOT NULL CHECK (octet_length(hash) = 32),
    PRIMARY KEY (level, number)
);
