"""What the gateway needs: an issuer to trust, and nothing else. No topics, no databases."""

from infra.plan import Plan, Process

GATEWAY = "gateway"


def plan() -> Plan:
    return Plan(processes=(Process(GATEWAY, "gateway", (), GATEWAY, ("issuer",), asks=("write", "read")),))
