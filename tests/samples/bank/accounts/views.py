"""What people ask about accounts."""

from typing import assert_never

from accounts.model import Account, AccountEvent, Deposited, Opened, Withdrawn, evolve, initial
from domains.kernel import Row


def by_account(event: AccountEvent) -> str:
    return event.account


def account(row: Account | None, event: AccountEvent) -> Account:
    return evolve(row or initial, event)


class OwnerBalance(Row):
    """What one owner has, over all accounts."""

    owner: str
    accounts: int = 0
    balance: int = 0


def by_owner(event: AccountEvent) -> str:
    return event.owner


def balance_of_owner(row: OwnerBalance | None, event: AccountEvent) -> OwnerBalance:
    held = row or OwnerBalance(owner=event.owner)
    match event:
        case Opened():
            return held.model_copy(update={"accounts": held.accounts + 1})
        case Deposited():
            return held.model_copy(update={"balance": held.balance + event.cents})
        case Withdrawn():
            return held.model_copy(update={"balance": held.balance - event.cents})
        case _:
            assert_never(event)
