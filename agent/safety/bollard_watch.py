"""The observer of bollards: what their PLC's own report reveals. Pure. Source: docs/safety.md SR-19, SR-24."""

from agent.model.equipment import Bollard, Kind
from agent.model.observation import BollardObserved
from agent.safety.bollard import green_is_wrong
from agent.safety.observer import Response, Trip


def watch_bollard(seen: BollardObserved, bollard: Bollard) -> tuple[Trip, ...]:
    """What one reading of a bollard reveals, for as long as it lasts. One reading suffices: its bits come together."""
    trips = []
    if green_is_wrong(seen):
        where = "moving up" if seen.moving_up else "at the upper limit" if seen.at_top else "not at the lower limit"
        trips.append(("SR-24", f"the green lamp is on and the bollard is {where}", Response.RELEASE_AND_LATCH))
    if seen.at_top and seen.at_bottom:
        trips.append(("SR-19", "position unknown: both limit switches are on", Response.ALARM))
    return tuple(Trip(rule, bollard.id, why, (), response, Kind.BOLLARD) for rule, why, response in trips)
