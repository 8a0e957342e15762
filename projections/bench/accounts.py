"""What is rebuilt for measuring: accounts, ten deposits each."""

from datetime import UTC, datetime
from decimal import Decimal

from domains.kernel import Command, Decider, Domain, Event, Row, View

AT = datetime(2010, 12, 1, 8, 26, tzinfo=UTC)


class Deposited(Event):
    account: str
    amount: Decimal
    currency: str
    note: str


class Account(Row):
    account: str
    deposits: int = 0
    total: Decimal = Decimal(0)
    currency: str = ""
    last_at: datetime | None = None


def project(row: Account | None, event: Deposited) -> Account:
    before = row or Account(account=event.account)
    return before.model_copy(
        update={
            "deposits": before.deposits + 1,
            "total": before.total + event.amount,
            "currency": event.currency,
            "last_at": event.occurred_at,
        }
    )


VIEW = View("accounts", Account, "account", lambda event: event.account, project, ("currency",))
DOMAIN = Domain(
    "bench",
    "account",
    dict[str, type[Command]](),
    {"bench.Deposited.v1": Deposited},
    Decider(None, lambda state, _: state, lambda _state, _command: ()),
    (VIEW,),
)


def body(row: int, number: int) -> bytes:
    event = Deposited(
        occurred_at=AT,
        account=str(row),
        amount=Decimal(number) / 4,
        currency="GBP",
        note="x" * 80,
    )
    return event.model_dump_json().encode()
