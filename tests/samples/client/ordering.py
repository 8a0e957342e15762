"""Orders something and reads it back, with the generated client: `ordering.py <url> <ca file> <token> <order>`."""

import json
import ssl
import sys
from datetime import UTC, datetime

from headrace_client import AuthenticatedClient
from headrace_client.api.orders import orders_v2_events, orders_v2_order_details, orders_v2_order_details_row
from headrace_client.api.orders import orders_v2_place as place
from headrace_client.models import OrdersV2PlaceOrderV2, OrdersV2PricedLine, OrdersV2PriceOf, OrdersV2PriceOfCurrency

url, ca_file, token, order = sys.argv[1:]
trust = ssl.create_default_context(cafile=ca_file)
at = datetime(2010, 12, 1, 8, 26, tzinfo=UTC)
price = OrdersV2PriceOf(amount="2.55", currency=OrdersV2PriceOfCurrency.GBP)


def body(customer: str) -> OrdersV2PlaceOrderV2:
    line = OrdersV2PricedLine(sku="85123A", quantity=6, price=price)
    return OrdersV2PlaceOrderV2(customer=customer, placed_at=at, lines=[line])


with AuthenticatedClient(url, token, verify_ssl=trust) as client:
    placed = place.sync_detailed(f"{order}-0", client=client, body=body(order))
    for number in (1, 2):
        placed = place.sync_detailed(f"{order}-{number}", client=client, body=body(order))
    seen = placed.headers["consistency-token"]
    row = orders_v2_order_details_row.sync(f"{order}-2", client=client, consistency_token=seen)
    pages = [orders_v2_order_details.sync(client=client, customer=order, limit=2, consistency_token=seen)]
    while pages[-1].next_:
        pages.append(orders_v2_order_details.sync(client=client, customer=order, limit=2, cursor=pages[-1].next_))
    events = orders_v2_events.sync(f"{order}-2", client=client)
    stale = place.sync_detailed(f"{order}-2", client=client, body=body(order), if_match='"7"')
    missing = orders_v2_order_details_row.sync_detailed("nobody", client=client)

told = {
    "done": placed.parsed.to_dict(),
    "row": row.to_dict(),
    "placed_at": row.placed_at.isoformat(),
    "pages": [[item.order for item in page.items] for page in pages],
    "events": [event.type_ for event in events.events],
    "problems": [
        [answer.status_code, type(answer.parsed).__name__, answer.parsed.type_] for answer in (stale, missing)
    ],
}
json.dump(told, sys.stdout)
