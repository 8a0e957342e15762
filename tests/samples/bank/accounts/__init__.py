"""Accounts: opened, paid into, paid from."""

from accounts.model import Account, Deposit, Deposited, Open, Opened, Withdraw, Withdrawn, decide, evolve, initial
from accounts.views import OwnerBalance, account, balance_of_owner, by_account, by_owner
from domains.kernel import Composition, Decider, Domain, Part, View

domain = Domain(
    name="accounts",
    identity="account",
    commands={"open": Open, "deposit": Deposit, "withdraw": Withdraw},
    events={
        "accounts.Opened.v1": Opened,
        "accounts.Deposited.v1": Deposited,
        "accounts.Withdrawn.v1": Withdrawn,
    },
    decider=Decider(initial, evolve, decide),
    views=(
        View("account", Account, "account", by_account, account, ("owner",)),
        View("owner-balance", OwnerBalance, "owner", by_owner, balance_of_owner, shared=True),
    ),
    partitions=2,
    compositions=(
        Composition(
            "owners",
            "overview",
            (Part("balance", "accounts", "owner-balance"), Part("orders", "orders", "order-details", "customer")),
        ),
    ),
)

__all__ = ["domain"]
