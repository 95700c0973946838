"""Timers of RSMP. Pure; the driver comes later. Source: docs/safety.md SR-10; RSMP core 3.2.2, TLC SXL 1.2.1 M0001."""

from agent.safety.verdict import Refused

ACK_MS_MAX = 30_000
"""A message not acknowledged by then: the link is dropped."""
WATCHDOG_PERIOD_MS = 60_000
"""How often a watchdog message is sent. One that does not come is no reason to drop the link; one not acknowledged is."""
ORDER_MINUTES_MIN, ORDER_MINUTES_MAX = 1, 60
"""M0001 and its like end by themselves; 0 would never. The cap is ours."""


def link_is_dead(unacknowledged_since_ms: int | None, now_ms: int) -> bool:
    """Whether the link must be dropped.

    Args:
        unacknowledged_since_ms: when the oldest message without its acknowledgement was sent; None if there is none.
    """
    return unacknowledged_since_ms is not None and now_ms - unacknowledged_since_ms >= ACK_MS_MAX


def watchdog_is_due(sent_at_ms: int | None, now_ms: int) -> bool:
    """Whether the next watchdog message must go out."""
    return sent_at_ms is None or now_ms - sent_at_ms >= WATCHDOG_PERIOD_MS


def order_ends(minutes: int | None) -> Refused | None:
    """SR-10: an order for a mode carries the time after which the controller ends it by itself."""
    if minutes is not None and ORDER_MINUTES_MIN <= minutes <= ORDER_MINUTES_MAX:
        return None
    asked = "none" if minutes is None else f"{minutes} min"
    return Refused("SR-10", f"an order lasts {ORDER_MINUTES_MIN}..{ORDER_MINUTES_MAX} min, asked: {asked}")
