"""The command `headrace bench`, on which other modules register their measurements, and what they share."""
