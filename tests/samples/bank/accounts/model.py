"""An account. Amounts are whole cents."""

from collections.abc import Sequence
from typing import Annotated, assert_never

from pydantic import AwareDatetime, BeforeValidator, Field, StringConstraints

from domains.errors import Refused
from domains.kernel import Command, Event, Row, whole

Id = Annotated[str, StringConstraints(strict=True, pattern=r"^[a-z0-9]{1,32}$")]
Cents = Annotated[int, Field(strict=True, ge=1, le=10**12), BeforeValidator(whole)]


class Open(Command):
    account: Id
    owner: Id
    at: AwareDatetime


class Deposit(Command):
    account: Id
    cents: Cents
    at: AwareDatetime


class Withdraw(Command):
    account: Id
    cents: Cents
    at: AwareDatetime


class Opened(Event):
    account: Id
    owner: Id


class Deposited(Event):
    account: Id
    owner: Id
    cents: Cents


class Withdrawn(Event):
    account: Id
    owner: Id
    cents: Cents


AccountEvent = Opened | Deposited | Withdrawn
AccountCommand = Open | Deposit | Withdraw


class Account(Row):
    account: str
    owner: str
    balance: int = 0


initial = Account(account="", owner="")


def evolve(account: Account, event: AccountEvent) -> Account:
    match event:
        case Opened():
            return Account(account=event.account, owner=event.owner)
        case Deposited():
            return account.model_copy(update={"balance": account.balance + event.cents})
        case Withdrawn():
            return account.model_copy(update={"balance": account.balance - event.cents})
        case _:
            assert_never(event)


def decide(account: Account, command: AccountCommand) -> Sequence[AccountEvent]:
    match command:
        case Open():
            return open_account(account, command)
        case Deposit() | Withdraw() if not account.account:
            raise Refused("unknown-account", f"there is no account {command.account}")
        case Deposit():
            return [
                Deposited(occurred_at=command.at, account=account.account, owner=account.owner, cents=command.cents)
            ]
        case Withdraw() if command.cents > account.balance:
            raise Refused("not-enough", f"the balance is {account.balance}")
        case Withdraw():
            return [
                Withdrawn(occurred_at=command.at, account=account.account, owner=account.owner, cents=command.cents)
            ]
        case _:
            assert_never(command)


def open_account(account: Account, command: Open) -> Sequence[AccountEvent]:
    if not account.account:
        return [Opened(occurred_at=command.at, account=command.account, owner=command.owner)]
    if account.owner == command.owner:
        return []
    raise Refused("already-open", f"the account {command.account} belongs to somebody else")
