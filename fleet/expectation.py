"""What must still hold when a command arrives: the value its issuer acted on. The cabinet checks it; here it is only told."""

from agent.model.observation import Quality
from fleet.answers import Expectation
from fleet.errors import AskError
from fleet.registry import Gateway
from fleet.standing import full_name, split_name


def in_full(expect: Expectation | None, equipment: str) -> Expectation | None:
    """The expectation with its point as the cabinet names it.

    Raises:
        AskError: it can never hold.
    """
    if expect is None:
        return None
    if expect.value is None:
        raise AskError(400, f"expect: {expect.point} can be expected to be a value, not to have none")
    own = expect.point if "/" in expect.point else full_name(equipment, expect.point)
    return Expectation(own, expect.value)


def would_hold(expect: Expectation, equipment: str, gateway: Gateway, now_ms: int) -> str:
    """Whether it would hold now, as far as the manager has seen."""
    place, name = split_name(expect.point)
    text = f"expects {expect.point} = {expect.value}"
    if _executor(gateway, equipment) == "guard" != _executor(gateway, place):
        return f"{text}, which the guard does not see: would be refused"
    point = gateway.points.get(place, {}).get(name)
    if point is None:
        return f"{text}, of which nothing is known here: would be refused if the cabinet knows nothing of it either"
    age_s = max(0, now_ms - point.t_ms) // 1000
    if gateway.shown_quality(point, now_ms) != Quality.GOOD:
        return f"{text}; the newest value, {point.value} {age_s} s ago, is not good: may be refused"
    if point.value != expect.value:
        return f"{text}; it is {point.value}, since {age_s} s ago: would be refused"
    return f"{text}, and so it is, since {age_s} s ago: would hold"


def _executor(gateway: Gateway, equipment: str) -> str:
    card = gateway.cards.get(equipment)
    return card.executor if card is not None else ""
