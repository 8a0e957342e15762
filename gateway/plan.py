"""What the gateway needs: an issuer to trust, and nothing else. No topics, no databases."""

from domains.admin import REBUILD
from infra.plan import Plan, Process

GATEWAY = "gateway"
GATEWAY_ADMIN = "gateway:admin"


def plan() -> Plan:
    asks = ("write", "read", REBUILD)
    return Plan(
        processes=(Process(GATEWAY, "gateway", (), GATEWAY, ("issuer",), asks=asks, admin=True),),
        scopes=(GATEWAY_ADMIN,),
    )
