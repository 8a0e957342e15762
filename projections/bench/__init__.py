"""Measures the lanes of a projection beside faust alone and beside what Kafka and PostgreSQL can do."""
