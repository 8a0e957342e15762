"""A login on another device: how often a program asks, how long, and what the development issuer answers."""

import pytest

from infra.device import GRANT, LONGEST_SECONDS, Asked, polled
from infra.errors import InfraError, NotRunning
from infra.issuer.devices import HELD_SECONDS, LETTERS, Devices
from infra.issuer.grant import GrantRefused
from infra.issuer.people import Person

ANSWER = {
    "device_code": "secret",
    "user_code": "BCDF-GHJK",
    "verification_uri": "https://issuer/device",
    "expires_in": 60,
    "interval": 5,
}
PENDING, SLOWER, TOKEN = {"error": "authorization_pending"}, {"error": "slow_down"}, {"access_token": "t"}
ANN = Person(password="correct horse", scopes=("parcels:read",))


class Clock:
    """Time that passes when somebody waits."""

    def __init__(self):
        self.now, self.waits = 1000.0, []

    def __call__(self):
        return self.now

    def wait(self, seconds):
        self.waits.append(seconds)
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


def asking(clock, *answers, **changed):
    """What comes of polling an issuer that answers so, the last answer again and again."""
    told = list(answers)

    def ask():
        answer = told.pop(0) if len(told) > 1 else told[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return polled(ask, Asked.of(ANSWER | changed), clock.wait, clock)


def test_a_program_waits_between_two_questions_as_it_was_told(clock):
    assert asking(clock, PENDING, PENDING, TOKEN) == TOKEN
    assert clock.waits == [5, 5, 5]


def test_who_is_told_to_slow_down_does_so_from_then_on(clock):
    assert asking(clock, SLOWER, PENDING, SLOWER, TOKEN) == TOKEN
    assert clock.waits == [5, 10, 10, 15]


def test_an_issuer_that_does_not_answer_is_asked_less_often(clock):
    assert asking(clock, NotRunning("down"), NotRunning("down"), TOKEN) == TOKEN
    assert clock.waits == [5, 10, 20]


@pytest.mark.parametrize("answer", [PENDING, SLOWER, NotRunning("down")])
def test_nobody_is_waited_for_longer_than_the_code_holds(clock, answer):
    with pytest.raises(NotRunning, match="while the code held"):
        asking(clock, answer)
    assert sum(clock.waits) < 60


@pytest.mark.parametrize("error", ["access_denied", "expired_token", "invalid_grant", "something new"])
def test_a_refusal_is_the_last_word(clock, error):
    assert asking(clock, PENDING, {"error": error}, TOKEN) == {"error": error}


def test_what_an_issuer_forgets_to_say_has_a_bound():
    told = Asked.of({name: value for name, value in ANSWER.items() if name != "interval"} | {"expires_in": 10**9})
    assert (told.interval, told.seconds, told.whole_address) == (5, LONGEST_SECONDS, None)
    assert Asked.of(ANSWER | {"interval": 0}).interval == 1


@pytest.mark.parametrize("answer", [{}, {"error": "unauthorized_client"}, {**ANSWER, "expires_in": "soon"}])
def test_an_issuer_that_begins_no_such_login_is_named(answer):
    with pytest.raises(InfraError, match="begins no login"):
        Asked.of(answer)


@pytest.fixture
def devices(clock):
    return Devices(clock)


@pytest.fixture
def begun(devices):
    secret, waiting = devices.begin({"client_id": "headrace-cli", "scope": "parcels:read"})
    return {"grant_type": GRANT, "client_id": "headrace-cli", "device_code": secret}, waiting


def refusal(devices, form):
    with pytest.raises(GrantRefused) as refused:
        devices.redeem(form)
    return refused.value.code


def test_a_code_is_typed_in_and_redeemed_once(devices, begun, clock):
    form, waiting = begun
    clock.wait(1)
    assert refusal(devices, form) == "authorization_pending"
    typed = f" {waiting.user_code.lower().replace('-', ' ')}"
    devices.approve(devices.asked(typed), "ann", ANN)
    assert devices.asked(waiting.user_code) is None
    clock.wait(1)
    login = devices.redeem(form)
    assert (login.name, login.scopes) == ("ann", ("parcels:read",))
    clock.wait(1)
    assert refusal(devices, form) == "invalid_grant"


def test_who_asks_too_soon_has_to_wait_longer_each_time(devices, begun, clock):
    form, waiting = begun
    assert refusal(devices, form) == "slow_down"
    clock.wait(1)
    assert refusal(devices, form) == "slow_down"
    devices.approve(waiting, "ann", ANN)
    clock.wait(11)
    assert devices.redeem(form).name == "ann"


def test_a_code_that_nobody_typed_in_ends(devices, begun, clock):
    form, waiting = begun
    clock.wait(HELD_SECONDS)
    assert devices.asked(waiting.user_code) is None
    assert refusal(devices, form) == "expired_token"
    assert refusal(devices, form) == "invalid_grant"


def test_nobody_may_have_more_than_he_has(devices):
    _, waiting = devices.begin({"client_id": "headrace-cli", "scope": "parcels:read parcels:write"})
    with pytest.raises(GrantRefused, match="may not have all"):
        devices.approve(waiting, "ann", ANN)
    assert waiting.login is None


@pytest.mark.parametrize(
    "changed", [{"client_id": "operator"}, {"device_code": "guessed"}, {"device_code": ""}, {"client_id": ""}]
)
def test_a_login_is_for_who_began_it(devices, begun, clock, changed):
    form, waiting = begun
    devices.approve(waiting, "ann", ANN)
    clock.wait(1)
    assert refusal(devices, form | changed) == "invalid_grant"
    assert devices.redeem(form).name == "ann"


def test_only_the_command_line_may_begin(devices):
    with pytest.raises(GrantRefused, match="no such client"):
        devices.begin({"client_id": "operator"})


def test_a_code_has_letters_that_are_not_mistaken(devices):
    codes = {devices.begin({"client_id": "headrace-cli"})[1].user_code for _ in range(200)}
    assert len(codes) == 200
    assert set("".join(codes)) <= {*LETTERS, "-"}
