"""What the fleet wants of this gateway until it says otherwise: taken once signed and newer, on disk before it is used.

A document replaces the one before it as a whole. Nothing in it is an order: each setting is judged by the safety kernel
whenever it is used, and what is refused is told and left as commissioned. Source: docs/wire.md 13.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agent.ledger.errors import LedgerError
from agent.model.equipment import Equipment, Segment
from agent.model.identity import EquipmentId
from agent.model.observation import Scalar
from agent.model.site import Site
from agent.process.clock import Clock
from agent.process.reply import fitting_text
from agent.runtime.desiredfile import read_sealed, write_sealed
from agent.runtime.recorder import Recorder
from agent.runtime.segment import SegmentControl
from agent.safety.verdict import Refused
from agent.wire import envelope
from agent.wire.errors import TrustError, WireError
from agent.wire.messages import Desired, DesiredReport, DesiredSetting, SettingReport, decode
from agent.wire.sealing import open_desired
from agent.wire.topics import Topic, down
from agent.wire.trust import KeyRing

NIGHT_LEVEL = "night_level_percent"
"""The one setting there is: a segment's local plan by night."""
LOOK_S = 1.0
"""How often what became of the settings is compared with what was last told."""
REASON_CHARACTERS_MAX = 200
APPLIED, WAITING, REFUSED = "applied", "waiting", "refused"

_log = logging.getLogger("armoire.desired")


class GenerationError(WireError):
    """A desired state older than the one kept, or another one under its number. Nothing changes."""

    reason = "generation"


@dataclass(frozen=True, slots=True)
class Signed:
    """A verified document.

    Args:
        hash: digest of its envelope.
    """

    document: Desired
    sealed: bytes
    hash: bytes

    @property
    def generation(self) -> int:
        """Its number."""
        return self.document.generation


class Generations(Protocol):
    """Where the highest generation taken is kept: the journal's ledger, which neither forgets nor counts back."""

    generation: int

    async def keep_generation(self, generation: int) -> None:
        """Keep it. Raises LedgerError if it is not on disk."""


class DesiredState:
    """The document in force.

    Args:
        path: where it is kept. numbers: where its generation is, so that it never goes down. ring: returns the key ring in force.
        segments: everything a setting can be for. beat: has the next heartbeat sent at once.
    """

    def __init__(
        self,
        path: Path,
        numbers: "Generations",
        site: Site,
        ring: Callable[[], KeyRing],
        segments: Mapping[EquipmentId, SegmentControl],
        recorder: Recorder,
        clock: Clock,
        beat: Callable[[], None],
    ) -> None:
        self._path = path
        self._numbers = numbers
        self._site = site
        self._ring = ring
        self._segments = segments
        self._recorder = recorder
        self._clock = clock
        self._beat = beat
        self._topic = down(site.city, site.gateway, "desired")
        self._arrived = asyncio.Event()
        self._kept: Signed | None = None
        self._next: Signed | None = None  # Not on disk yet.
        self._settings: list[DesiredSetting] = []
        self._refused: dict[int, Refused] = {}
        self._told: dict[int, tuple[str, str]] = {}
        self._contradicted = b""
        self._is_failing = False
        self._take_up()

    def receive(self, topic: Topic, sealed: bytes) -> None:
        """Take in what arrived on ``down/desired``; ``run`` does the rest.

        Raises:
            WireError, TrustError: it is not for us, not the director's, or not newer. Nothing changes.
        """
        if topic != self._topic:
            raise GenerationError(f"a desired state on {topic}")
        document = open_desired(self._ring(), sealed, topic, self._clock.known_ms())
        arrived, newest = Signed(document, sealed, envelope.digest(sealed)), self._next or self._kept
        if arrived.generation < self._numbers.generation:  # Also if the document of that number was lost.
            raise GenerationError(f"generation {arrived.generation} after {self._numbers.generation}")
        if newest is None or arrived.generation > newest.generation:
            self._next = arrived
            self._arrived.set()
        elif arrived.generation < newest.generation:
            raise GenerationError(f"generation {arrived.generation} after {newest.generation}")
        elif arrived.hash != newest.hash:
            self._contradict(arrived)
            raise GenerationError(f"another document of generation {arrived.generation}")
        # The same again: the next heartbeat says that we have it. At once, a replay could have us sign without end.

    async def run(self) -> None:
        """Store and use what has arrived, and tell what becomes of it, as long as the agent."""
        while True:  # As long as the agent.
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._arrived.wait()
            self._arrived.clear()
            await self.settle()

    async def settle(self) -> None:
        """One turn of ``run``."""
        if self._next is not None:
            await self._take(self._next)
        elif self._kept is not None:
            with suppress(LedgerError):  # From before the ledger kept it, or the ledger was lost.
                await self._numbers.keep_generation(self._kept.generation)
        self._tell()

    def report(self) -> DesiredReport:
        """How far we are, for birth and heartbeat."""
        generation, hash_ = (self._kept.generation, self._kept.hash) if self._kept else (0, b"")
        return DesiredReport(generation, hash_, [self._report(n) for n in range(len(self._settings))])

    def _tell(self) -> None:
        """Record what has become of a setting, and send a heartbeat, once for each change."""
        settings = dict(enumerate(self.report().settings))
        changed = [each for n, each in settings.items() if self._told.get(n) != (each.status, each.rule)]
        self._told = {n: (each.status, each.rule) for n, each in settings.items()}
        for each in changed:
            if each.status != WAITING:
                text = f"{each.setting}: {each.reason or 'it is in the local plan'}"
                self._recorder.event("audit", f"desired.{each.status}", each.equipment, each.rule, text)
        if changed:
            self._beat()

    async def _take(self, signed: Signed) -> None:
        """On disk first, and its number before it: once it was used, no power cut and no lost file leads back."""
        try:
            await self._numbers.keep_generation(signed.generation)
            await asyncio.to_thread(write_sealed, self._path, signed.sealed)
        except (OSError, LedgerError) as error:
            if not self._is_failing:
                _log.warning("generation %d is not used: the disk does not take it: %s", signed.generation, error)
            self._is_failing = True
            return  # It stays the next one: another turn tries again.
        self._is_failing = False
        if self._next is signed:
            self._next = None
        self._use(signed)
        text = f"generation {signed.generation} is kept to: {len(self._settings)} settings"
        self._recorder.event("audit", "desired.taken", "", "", text, {"digest": signed.hash.hex()})
        self._told.clear()
        self._beat()

    def _take_up(self) -> None:
        """Go on with what was in force. Its generation counts even if its signer is believed no longer."""
        try:
            sealed = read_sealed(self._path)
        except OSError as error:
            _log.warning("%s cannot be read, the fleet must send it again: %s", self._path, error)
            return
        if not sealed:
            return
        try:
            kept = Signed(decode(envelope.parse(sealed).payload, Desired), sealed, envelope.digest(sealed))
        except WireError as error:
            aside = self._path.with_suffix(".damaged")
            with suppress(OSError):
                self._path.replace(aside)
            text = f"the desired state on disk is damaged and the fleet must send it again: {error}"
            self._recorder.event("alarm", "desired.damaged", "", "", fitting_text(text))
            return
        try:
            open_desired(self._ring(), sealed, self._topic, None)
        except (WireError, TrustError) as error:
            self._kept = kept
            text = f"generation {kept.generation} is not used any more: {error}"
            self._recorder.event("alarm", "desired.not-believed", "", "", fitting_text(text))
        else:
            self._use(kept)

    def _use(self, signed: Signed) -> None:
        self._kept = signed
        self._settings = signed.document.settings
        self._refused.clear()
        wanted: dict[str, int] = {}
        for number, setting in enumerate(self._settings):
            level_percent = self._level(setting, wanted)
            if isinstance(level_percent, Refused):
                self._refused[number] = level_percent
            else:
                wanted[setting.equipment] = level_percent
        for id_, segment in self._segments.items():
            segment.want_night_level(wanted.get(id_))

    def _level(self, setting: DesiredSetting, wanted: Mapping[str, int]) -> int | Refused:
        """The grammar of settings: what does not exist is refused by SR-01, what is out of range by SR-08."""
        equipment: Equipment | None = self._site.equipment.get(EquipmentId(setting.equipment))
        if equipment is None:
            return Refused("SR-01", f"this cabinet has no {setting.equipment}")
        if not isinstance(equipment, Segment) or EquipmentId(setting.equipment) not in self._segments:
            return Refused("SR-01", f"a {equipment.kind} has no settings")
        if setting.setting != NIGHT_LEVEL:
            return Refused("SR-01", f"a segment has no setting {setting.setting}: it has {NIGHT_LEVEL}")
        if setting.equipment in wanted:
            return Refused("SR-08", "it is given twice")
        value: Scalar = setting.value
        if type(value) is not int or not 0 <= value <= 100:  # A bool is an int to Python.
            return Refused("SR-08", f"it must be whole percent 0..100, got {value!r:.60}")
        return value

    def _report(self, number: int) -> SettingReport:
        setting = self._settings[number]
        refused = self._refused.get(number)
        status = REFUSED
        if refused is None:
            segment = self._segments[EquipmentId(setting.equipment)]
            refused = segment.night_refusal
            status = REFUSED if refused else APPLIED if segment.is_night_level_desired else WAITING
        rule, reason = (refused.rule, refused.reason[:REASON_CHARACTERS_MAX]) if refused else ("", "")
        return SettingReport(setting.equipment, setting.setting, status, rule, reason)

    def _contradict(self, other: Signed) -> None:
        """Two documents under one number: somebody has the director's key, or a manager counted twice."""
        if self._contradicted != other.hash:
            self._contradicted = other.hash
            text = f"the director signed two documents of generation {other.generation}; the first one is kept to"
            self._recorder.event("alarm", "desired.contradicted", "", "", text, {"digest": other.hash.hex()})
