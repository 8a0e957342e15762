-- Nobody appends while an import runs; it goes into an empty store only.
SELECT position FROM head FOR UPDATE
