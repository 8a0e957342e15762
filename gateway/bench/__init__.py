"""Measures the gateway beside other proxies, and a command end to end beside FastAPI alone, in one run."""
