"""`headrace call` asks for what it was told to, or says what is wrong with it; it leaves nothing out."""

import pytest
from typer.testing import CliRunner

from gateway import call_commands
from infra.console import Exit


@pytest.fixture
def call(monkeypatch, tmp_path):
    """Runs the command; what it would have sent, and how it ended."""
    monkeypatch.chdir(tmp_path)
    body = tmp_path / "body.json"
    body.write_text("{}")

    def call(*arguments, answered=(200, "{}")):
        sent = []

        def exchange(_, path, __, headers):
            sent.append((path, dict(headers)))
            return answered

        monkeypatch.setattr(call_commands, "exchange", exchange)
        done = CliRunner().invoke(call_commands.app, [part.replace("BODY", str(body)) for part in arguments])
        call.stdout = done.stdout
        return sent, done.exit_code

    return call


def test_filters_and_conditions_are_sent_as_they_were_given(call):
    asked = ("orders", "order-details", "--where", "country=Côte d'Ivoire", "--where", "status=a=b")
    assert call(*asked) == ([("/v2/orders/order-details?country=C%C3%B4te+d%27Ivoire&status=a%3Db", {})], 0)
    sent, _ = call("orders", "cancel", "a b", "-f", "BODY", "--if-match", "3", "--key", "k")
    assert sent == [("/v2/orders/a%20b/cancel", {"if-match": '"3"', "idempotency-key": '"k"'})]


@pytest.mark.parametrize(("option", "header"), [(("--if-match", "0"), "if-match"), (("--key", ""), "idempotency-key")])
def test_a_condition_that_can_not_hold_is_sent_rather_than_left_out(call, option, header):
    [(_, headers)], _ = call("orders", "cancel", "1", "-f", "BODY", *option)
    assert header in headers


def test_a_filter_that_stands_twice_is_sent_twice(call):
    [(path, _)], _ = call("orders", "order-details", "--where", "status=a", "--where", "status=b")
    assert path.endswith("?status=a&status=b")


@pytest.mark.parametrize(
    "arguments",
    [
        ("order-details", "--where", "country"),
        ("order-details", "\udcff"),
        ("order-details", "--where", "country=\udcff"),
        ("cancel", "1", "-f", "BODY", "--key", "a\nb: c"),
    ],
)
def test_what_can_not_be_sent_is_refused(call, arguments):
    assert call("orders", *arguments) == ([], Exit.USAGE)


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (("customers", "overview", "a/b"), "/v2/customers/a%2Fb/overview"),
        (("customers", "overview", "1", "--api", "1"), "/v1/customers/1/overview"),
        (("operations", "orders-1 2"), "/v1/operations/orders-1%202"),
        (("operations", "orders-1", "--api", "1"), "/v1/operations/orders-1"),
        (("orders", "order-details", "1", "--api", "1"), "/v1/orders/order-details/1"),
    ],
)
def test_overviews_and_operations_are_asked_for_like_views(call, arguments, path):
    assert call(*arguments) == ([(path, {})], 0)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("customers", "overview"), Exit.USAGE),
        (("customers", "nothing", "1"), Exit.NOT_FOUND),
        (("customers", "overview", "1", "--api", "9"), Exit.NOT_FOUND),
        (("orders", "overview", "1"), Exit.NOT_FOUND),
        (("orders", "order-details", "--api", "0"), Exit.NOT_FOUND),
        (("nobody", "overview", "1"), Exit.NOT_FOUND),
        (("operations", "1", "2"), Exit.USAGE),
        (("operations", "1", "--api", "2"), Exit.NOT_FOUND),
        (("operations", "a\nb"), Exit.USAGE),
        (("customers", "overview", "1", "-f", "BODY"), Exit.USAGE),
        (("orders", "cancel", "1", "-f", "BODY", "--later"), Exit.USAGE),
        (("orders", "order-details", "1", "--key", "k", "--later"), Exit.USAGE),
    ],
)
def test_what_is_not_declared_is_not_asked_for(call, arguments, code):
    assert call(*arguments) == ([], code)


def test_a_command_can_be_answered_later(call):
    sent, _ = call("orders", "cancel", "1", "-f", "BODY", "--key", "k", "--later")
    assert sent == [("/v2/orders/1/cancel", {"idempotency-key": '"k"', "prefer": "respond-async"})]


def test_a_refusal_is_json_for_who_wants_that(call):
    refused = (404, '{"title": "Not found", "detail": "no"}')
    assert call("operations", "x", answered=refused)[1] == Exit.NOT_FOUND
    assert call.stdout == ""
    assert call("operations", "x", "--json", answered=refused)[1] == Exit.NOT_FOUND
    assert call.stdout == refused[1] + "\n"
