"""Answers about views over HTTP: rows and lists, as they are, as they were, and as they change."""
