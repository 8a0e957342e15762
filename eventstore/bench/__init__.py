"""Measures the store beside a peer and beside what the server can do at most, in one run."""
