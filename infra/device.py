"""Waits for a login on another device (RFC 8628): asks no sooner than the issuer likes, and not for ever."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any, Self

from infra.errors import InfraError, NotRunning

GRANT = "urn:ietf:params:oauth:grant-type:device_code"
INTERVAL_SECONDS = 5.0
SLOWER_SECONDS = 5.0
LONGEST_SECONDS = 1800.0
Pause = Callable[[float], object]


@dataclass(frozen=True, slots=True)
class Asked:
    """A login that the issuer waits for: a person opens `address` and types in `user_code`.

    `whole_address` holds the code already, where the issuer gives such a one. The code holds for `seconds`.
    """

    device_code: str
    user_code: str
    address: str
    whole_address: str | None
    seconds: float
    interval: float

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Self:
        """Raises `InfraError` if the issuer refuses, or answers with something else."""
        try:
            return cls(
                str(answer["device_code"]),
                str(answer["user_code"]),
                str(answer["verification_uri"]),
                answer.get("verification_uri_complete"),
                min(float(answer["expires_in"]), LONGEST_SECONDS),
                max(1.0, float(answer.get("interval", INTERVAL_SECONDS))),
            )
        except (KeyError, ValueError):
            said = answer.get("error_description") or answer.get("error") or "it answered something else"
            raise InfraError(f"the issuer begins no login on another device: {said}") from None


def polled(
    ask: Callable[[], Mapping[str, Any]],
    asked: Asked,
    pause: Pause = sleep,
    clock: Callable[[], float] = monotonic,
) -> Mapping[str, Any]:
    """The issuer's last word: tokens, or a refusal. Raises `NotRunning` when the time is over."""
    interval, until = asked.interval, clock() + asked.seconds
    while clock() + interval < until:
        pause(interval)
        try:
            answer = ask()
        except NotRunning:
            interval *= 2
            continue
        match answer.get("error"):
            case "authorization_pending":
                pass
            case "slow_down":
                interval += SLOWER_SECONDS
            case _:
                return answer
    raise NotRunning("nobody has logged in while the code held", "headrace login --device")
