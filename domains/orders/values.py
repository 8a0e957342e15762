"""The values that orders are made of: exact, bounded, and refused when they are not."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic.config import JsonDict

from domains.kernel import IN_BODIES, whole

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)

Text = Annotated[str, StringConstraints(strict=True)]
OrderId = Annotated[Text, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
CustomerId = Annotated[Text, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
PRINTABLE = r"^[^\x00-\x1f\x7f]+$"
Sku = Annotated[Text, StringConstraints(min_length=1, max_length=64, pattern=PRINTABLE)]
Description = Annotated[Text, StringConstraints(max_length=200, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*$")]
Country = Annotated[Text, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f/]+$")]
Currency = Literal["AUD", "CAD", "CHF", "DKK", "EUR", "GBP", "JPY", "NOK", "SEK", "USD"]

Quantity = Annotated[int, Field(strict=True, ge=1, le=1_000_000), BeforeValidator(whole)]


def written_out(value: object) -> object:
    """Money is written as a string: a JSON number has already lost its exactness."""
    if isinstance(value, str | Decimal):
        return value
    raise ValueError("money is a decimal number in a string, like '2.55'")


def to_utc(moment: datetime) -> datetime:
    if moment < EARLIEST:
        raise ValueError("a time before 1970 is no time of a sale")
    return moment.astimezone(UTC)


# What can be said of them in a schema, so that callers need not find out by being refused.
PRICE: JsonDict = {"type": "string", "pattern": r"^(0|[1-9][0-9]{0,5})(\.[0-9]{1,4})?$"}
MOMENT: JsonDict = {"type": "string", "format": "date-time", "pattern": "^(19[7-9][0-9]|[2-9][0-9]{3})-"}

Amount = Annotated[Decimal, BeforeValidator(written_out)]
Price = Annotated[Amount, Field(ge=0, le=1_000_000, decimal_places=4, json_schema_extra={IN_BODIES: PRICE})]
Moment = Annotated[AwareDatetime, AfterValidator(to_utc), Field(json_schema_extra={IN_BODIES: MOMENT})]


class Line(BaseModel):
    """Some pieces of one article, each at `unit_price`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sku: Sku
    description: Description = ""
    quantity: Quantity
    unit_price: Price
