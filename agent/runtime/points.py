"""The latest value of every point, and which of them changed. Pure; the poller feeds it, the journal takes the changes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from agent.model.identity import EquipmentId
from agent.model.observation import PointValue, Quality, Scalar


@dataclass(frozen=True, slots=True)
class Seen:
    """One point as last read."""

    value: Scalar
    quality: Quality
    source_ms: int


class PointTable:
    """Latest values by equipment and name."""

    def __init__(self) -> None:
        self._seen: dict[EquipmentId, dict[str, Seen]] = {}

    def take(
        self, equipment: EquipmentId, values: Mapping[str, Scalar], bad: Iterable[str], source_ms: int
    ) -> list[PointValue]:
        """Note a reading; return the points whose value or quality changed.

        Args:
            bad: names the device answered but that cannot be believed.
            source_ms: Unix time of the reading.
        """
        unbelieved = frozenset(bad)
        return self.take_view(
            equipment,
            (
                (name, value, Quality.BAD if name in unbelieved else Quality.GOOD, source_ms)
                for name, value in values.items()
            ),
        )

    def take_view(self, equipment: EquipmentId, points: Iterable[tuple[str, Scalar, Quality, int]]) -> list[PointValue]:
        """Note points that come with their own quality and time, as the guard hands them over."""
        known = self._seen.setdefault(equipment, {})
        changed = []
        for name, value, quality, source_ms in points:
            before = known.get(name)
            known[name] = Seen(value, quality, source_ms)
            if before is None or (before.value, before.quality) != (value, quality):
                changed.append(PointValue(f"{equipment}/{name}", value, quality, source_ms))
        return changed

    def silence(self, equipment: EquipmentId, names: Iterable[str], source_ms: int) -> list[PointValue]:
        """The equipment does not answer: what it last said is stale. Return what changed; empty the second time.

        A stale point keeps the time of its last reading, so that its age tells the truth.

        Args:
            names: its points, in case one has never been read since the start: it is stale without a value, whatever
                the fleet heard before.
            source_ms: Unix time now, for those.
        """
        known = self._seen.setdefault(equipment, {})
        points = [
            (name, seen.value, Quality.STALE, seen.source_ms)
            for name, seen in known.items()
            if seen.quality < Quality.STALE
        ]
        points += ((name, None, Quality.STALE, source_ms) for name in names if name not in known)
        return self.take_view(equipment, points)

    def disbelieve(self, equipment: EquipmentId, names: Iterable[str], source_ms: int) -> list[PointValue]:
        """The equipment answers, and nothing of it can be believed: no value, and bad. Empty the second time."""
        known = self._seen.setdefault(equipment, {})
        return self.take_view(
            equipment, [(name, None, Quality.BAD, source_ms) for name in dict.fromkeys((*known, *names))]
        )

    def of(self, equipment: EquipmentId) -> Mapping[str, Seen]:
        """Every point of one piece of equipment."""
        return self._seen.get(equipment, {})
