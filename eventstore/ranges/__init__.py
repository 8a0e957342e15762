"""The ranges of the log: old ones can be taken out of the database into files, and brought back."""
