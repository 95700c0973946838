"""Flash requests, remembered over a restart (SR-14).

Those of people are in the safety stream before they are sent. The observer's own wait for no disk and come with a latch,
which is begun to be written before and refuses every other request until a reset on site.
"""

from collections.abc import Iterator

from agent.guard.records import Records
from agent.guard.surroundings import Surroundings
from agent.ledger.errors import LedgerError
from agent.model.command import LOCAL_PLAN, RequestFlash
from agent.model.equipment import Junction
from agent.model.identity import EquipmentId
from agent.model.observation import ClockQuality
from agent.model.site import Site
from agent.process.clock import Clock
from agent.safety.budget import BUDGET_WINDOW_MS
from agent.wire.local import LogEntry

FLASH_EVENT, OBSERVER_FLASH_EVENT = "flash.request", "trip.flash"
LOG_LIMIT = 4_000
LOG_WHOLE = 1_000
"""The ledger keeps twice as many links at least: a shorter log has lost nothing."""


async def recall_flashes(site: Site, records: Records, surroundings: Surroundings, clock: Clock) -> None:
    """Count what was requested before this start. Whatever is not surely over counts as requested now."""
    now_ms, junctions = clock.now_ms(), [each.id for each in site.equipment.values() if isinstance(each, Junction)]
    unix_ms = clock.known_ms()
    asked = [(now_ms, junction) for junction in junctions]
    try:
        entries = await records.log("", LOG_LIMIT)
    except LedgerError:
        entries = None
    if entries is not None and records.are_latches_known and _is_whole(entries, unix_ms):
        asked = sorted(_asked(entries, unix_ms, now_ms))
    for at_ms, junction in asked:
        if junction in junctions:
            surroundings.spend(RequestFlash(junction, LOCAL_PLAN, 0), at_ms)


def _is_whole(entries: list[LogEntry], unix_ms: int | None) -> bool:
    """Whether the log goes back far enough, by its length or by its oldest entry."""
    return len(entries) < LOG_WHOLE or _age_ms(entries[0], unix_ms) >= BUDGET_WINDOW_MS


def _asked(entries: list[LogEntry], unix_ms: int | None, now_ms: int) -> Iterator[tuple[int, EquipmentId]]:
    """When flash was requested, on this start's clock."""
    for entry in entries:
        if entry.kind in (FLASH_EVENT, OBSERVER_FLASH_EVENT):
            yield now_ms - _age_ms(entry, unix_ms), EquipmentId(entry.equipment)


def _age_ms(entry: LogEntry, unix_ms: int | None) -> int:
    """How old an entry surely is: 0 where our clock is not known, or the one that stamped it was not the network's."""
    if unix_ms is None or entry.clock < ClockQuality.NETWORK:
        return 0
    return max(0, unix_ms - entry.t_ms)
