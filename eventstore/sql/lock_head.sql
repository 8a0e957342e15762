-- Who holds this lock is the only one who appends: what is looked for next stays as it is until the commit.
SELECT position FROM head FOR UPDATE
