"""A signal controller by NTCIP 1202: watched in one question, asked for plans, flash and release. No green.

The only object this driver ever writes is systemPatternControl: a commissioned plan, flash, or 0 (standby),
which is the release. Every write restarts the controller's own watchdog (unitBackupTime); when we stop
writing, the controller drops our request by itself and runs its own plan.

Source   NTCIP 1202 §2.4, §2.5, §2.9. Polling is an audit, not the conflict monitor of EN 12675.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from agent.model.command import ReleaseJunction, RequestFlash, SelectPlan
from agent.model.identity import EquipmentId
from agent.model.observation import Calls, JunctionObserved
from agent.model.site import SnmpLink
from agent.safety.verdict import Approved
from drivers.base import NowMs
from drivers.errors import DeviceNonsenseError, DeviceRefusedError, DeviceSilentError, DriverError, LinkDownError
from drivers.ntcip import oids
from drivers.ntcip.codec import Value, groups_of, join, whole
from drivers.ntcip.session import TIMEOUT_S, NoSuchObjectError, SessionCounters, SnmpSession

STATUS_OTHER = 1  # unitControlStatus and unitFlashStatus of a controller that does not tell
STANDBY = 3  # unitControlStatus: somebody has written a release; after the watchdog or a restart it says otherwise
PATTERN_UNKNOWN = 0  # coordPatternStatus of a controller that does not tell
OPTIONAL = {
    oids.UNIT_CONTROL_STATUS: "unitControlStatus",
    oids.UNIT_FLASH_STATUS: "unitFlashStatus",
    oids.COORD_PATTERN_STATUS: "coordPatternStatus",
    oids.UNIT_BACKUP_TIME: "unitBackupTime",
    oids.SYSTEM_PATTERN_CONTROL: "systemPatternControl",
}
"""What an observation asks for beside the groups, by the standard's names."""
UNSUPPORTED_FOR_MS = 300_000
"""A controller that starts may say noSuchName to what it has a moment later. It is asked again after 5 min (ours: a few
questions more), and at once when it was silent in between."""
CALLS_PERIOD_MS, SET_ID_PERIOD_MS = 10_000, 300_000
"""How often calls and the configuration's fingerprint are asked for: signals seldom wait for less, and people change
a configuration more slowly. Both are questions of their own, so that the observation never waits for them."""
SELDOM_RETRY_MS = 60_000
"""After silence or nonsense: a controller that never answers such a question must not cost a scan every 10 s."""
SET_ID_AGE_MS_MAX = 3 * SET_ID_PERIOD_MS
FACTS = (
    oids.UNIT_BACKUP_TIME,
    oids.GLOBAL_SET_ID_PARAMETER,
    oids.MAX_PHASES,
    oids.MAX_PHASE_GROUPS,
    oids.MAX_CHANNEL_STATUS_GROUPS,
)


@dataclass(frozen=True, slots=True)
class ControllerFacts:
    """What the controller says about itself at connection; None where it does not.

    Args:
        backup_time_s: unitBackupTime, its watchdog.
        set_id: globalSetIDParameter; it changes with the stored configuration, so it tells of tampering.
        by_channel: groups are read from channels (what the lamps show), else from phases.
    """

    backup_time_s: int | None
    set_id: int | None
    phases_max: int | None
    phase_groups_max: int | None
    channel_groups_max: int | None
    by_channel: bool


@dataclass(frozen=True, slots=True)
class _Aspects:
    """The objects that tell reds, yellows and greens of the groups watched."""

    groups: tuple[int, ...]
    reds: tuple[str, ...]
    yellows: tuple[str, ...]
    greens: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        return self.greens + self.yellows + self.reds

    def join(self, name: str, which: Sequence[str], values: Mapping[str, Value]) -> int:
        return join(name, ((group, values.get(oid)) for group, oid in zip(self.groups, which, strict=True)))


def _aspects(
    groups: tuple[int, ...], reds: Callable[[int], str], yellows: Callable[[int], str], greens: Callable[[int], str]
) -> _Aspects:
    rows = (tuple(column(group) for group in groups) for column in (reds, yellows, greens))
    return _Aspects(groups, *rows)


class SignalController:
    """One junction's controller.

    Args:
        group_mask: the commissioned signal groups, group n at bit n - 1; not 0. Whole groups of eight are read.
        timeout_s: how long to wait for each answer.
        vehicle_calls, pedestrian_calls: masks of the phases whose calls are asked for, phase n at bit n - 1.
    """

    def __init__(
        self,
        link: SnmpLink,
        equipment_id: EquipmentId,
        group_mask: int,
        now_ms: NowMs,
        timeout_s: float = TIMEOUT_S,
        *,
        vehicle_calls: int = 0,
        pedestrian_calls: int = 0,
    ) -> None:
        groups = groups_of(group_mask)
        if not groups or group_mask >> 64:
            raise ValueError(f"group mask of 1..64 groups, got {group_mask:#x}")
        self.equipment_id = equipment_id
        self.facts: ControllerFacts | None = None
        self.unsupported: set[str] = set()
        self.untold: tuple[str, ...] = ()
        self._forgot_at_ms = now_ms()
        self._session = SnmpSession(link, timeout_s)
        self._now_ms = now_ms
        self._channels = _aspects(
            groups,
            oids.channel_status_group_reds,
            oids.channel_status_group_yellows,
            oids.channel_status_group_greens,
        )
        self._phases = _aspects(
            groups, oids.phase_status_group_reds, oids.phase_status_group_yellows, oids.phase_status_group_greens
        )
        self._shown = self._channels
        self._ours = frozenset({oids.PATTERN_STANDBY})  # What may stand in systemPatternControl by our own doing.
        self._writes = 0  # Rises with the beginning and the end of each write.
        self._vehicle_calls = tuple(
            (group, oids.phase_status_group_vehicle_calls(group)) for group in groups_of(vehicle_calls)
        )
        self._pedestrian_calls = tuple(
            (group, oids.phase_status_group_pedestrian_calls(group)) for group in groups_of(pedestrian_calls)
        )
        self._calls: Calls | None = None
        self._calls_due_ms = self._set_id_due_ms = self._set_id_at_ms = now_ms()
        self._set_id: int | None = None

    @property
    def counters(self) -> SessionCounters:
        """What happened on the wire since the start."""
        return self._session.counters

    async def connect(self) -> ControllerFacts:
        """Ask the controller about itself, and find out where it shows its groups.

        Raises:
            DeviceRefusedError: it tells the watched groups neither by channel nor by phase.
            LinkDownError, DeviceSilentError, DeviceNonsenseError: as ``SnmpSession.get``.
        """
        self.facts = None
        self._forget_unsupported()
        values = await self._get_supported(FACTS)
        by_channel = await self._tells(self._channels)
        if not by_channel and not await self._tells(self._phases):
            raise DeviceRefusedError(f"{self._session.address} tells the groups neither by channel nor by phase")
        self._shown = self._channels if by_channel else self._phases
        self.facts = ControllerFacts(
            _optional("unitBackupTime", values.get(oids.UNIT_BACKUP_TIME), 0xFFFF),
            _optional("globalSetIDParameter", values.get(oids.GLOBAL_SET_ID_PARAMETER), 0xFFFF),
            _optional("maxPhases", values.get(oids.MAX_PHASES), 0xFF),
            _optional("maxPhaseGroups", values.get(oids.MAX_PHASE_GROUPS), 0xFF),
            _optional("maxChannelStatusGroups", values.get(oids.MAX_CHANNEL_STATUS_GROUPS), 0xFF),
            by_channel,
        )
        self._take_set_id(self.facts.set_id)
        return self.facts

    async def observe(self) -> JunctionObserved:
        """Read all groups and the state of the unit in one question; connects first if that was not done yet.

        Greens outside the commissioned groups are reported too, as far as the same objects tell them. Objects that the
        controller did not tell are named in ``untold``.

        Raises:
            DeviceRefusedError: an object that tells groups is refused. Nothing is known of the lamps.
            LinkDownError, DeviceSilentError, DeviceNonsenseError: as ``SnmpSession.get``. Likewise.
        """
        if self._now_ms() - self._forgot_at_ms >= UNSUPPORTED_FOR_MS:
            self._forget_unsupported()
        try:
            if self.facts is None:
                await self.connect()
            shown = self._shown
            asked_ms, writes = self._now_ms(), self._writes
            values = await self._get_supported(tuple(OPTIONAL), shown.all)
        except (DeviceSilentError, LinkDownError):
            self._forget_unsupported()  # It may have been restarted, or exchanged for another.
            self._set_id_due_ms = self._now_ms()
            raise
        at_ms = self._now_ms()
        self.untold = tuple(name for oid, name in OPTIONAL.items() if values.get(oid) is None)
        control = values.get(oids.UNIT_CONTROL_STATUS)
        flash = values.get(oids.UNIT_FLASH_STATUS)
        pattern = values.get(oids.COORD_PATTERN_STATUS)
        return JunctionObserved(
            equipment=self.equipment_id,
            at_ms=at_ms,
            greens=shown.join("greens", shown.greens, values),
            yellows=shown.join("yellows", shown.yellows, values),
            reds=shown.join("reds", shown.reds, values),
            control_status=STATUS_OTHER if control is None else whole("unitControlStatus", control, 1, 0xFF),
            flash_status=STATUS_OTHER if flash is None else whole("unitFlashStatus", flash, 1, 0xFF),
            pattern=PATTERN_UNKNOWN if pattern is None else whole("coordPatternStatus", pattern, 0, 0xFF),
            backup_time_s=_optional("unitBackupTime", values.get(oids.UNIT_BACKUP_TIME), 0xFFFF),
            delay_ms=at_ms - asked_ms,
            calls=self._calls,
            configuration_id=self._set_id if at_ms - self._set_id_at_ms <= SET_ID_AGE_MS_MAX else None,
            foreign_request=self._foreign(values, control) if writes == self._writes else None,
        )

    async def poll_seldom(self) -> None:
        """Ask for calls or fingerprint if it is time, at most one of them; later observations carry the answer.

        What the controller does not tell is None there. One that is silent keeps its fingerprint until it is too old.
        """
        now_ms = self._now_ms()
        if now_ms >= self._calls_due_ms and (self._vehicle_calls or self._pedestrian_calls):
            self._calls = await self._read_calls()
            self._calls_due_ms = now_ms + (SELDOM_RETRY_MS if self._calls is None else CALLS_PERIOD_MS)
        elif now_ms >= self._set_id_due_ms:
            self._set_id_due_ms = now_ms + SELDOM_RETRY_MS
            try:
                self._take_set_id(await self.read_set_id())
            except (DeviceRefusedError, DeviceNonsenseError):
                self._take_set_id(None)
            except DriverError:
                return  # Silent: asked again soon.

    def _take_set_id(self, set_id: int | None) -> None:
        self._set_id, self._set_id_at_ms = set_id, self._now_ms()
        self._set_id_due_ms = self._set_id_at_ms + SET_ID_PERIOD_MS

    async def _read_calls(self) -> Calls | None:
        asked_ms = self._now_ms()
        try:
            values = await self._get_supported([oid for _, oid in (*self._vehicle_calls, *self._pedestrian_calls)])
            masks = [self._mask("calls", which, values) for which in (self._vehicle_calls, self._pedestrian_calls)]
        except DriverError:
            return None
        at_ms = self._now_ms()
        return Calls(at_ms, masks[0], masks[1], at_ms - asked_ms)

    @staticmethod
    def _mask(name: str, which: Sequence[tuple[int, str]], values: Mapping[str, Value]) -> int | None:
        """Join what is told; None if nothing is."""
        told = [(group, values[oid]) for group, oid in which if values.get(oid) is not None]
        return join(name, told) if told else None

    async def select_plan(self, approved: Approved[SelectPlan]) -> None:
        """Ask for a commissioned plan, then read the request back. The plan itself shows in later observations.

        Raises:
            DeviceRefusedError: the controller will not; nothing changed.
            DeviceSilentError: it may or may not have heard; its watchdog ends whatever it heard.
            DeviceNonsenseError: it acknowledged and reads otherwise.
            LinkDownError: nothing was sent.
        """
        await self._request(approved.command.equipment, _pattern(approved.command))

    async def flash(self, approved: Approved[RequestFlash]) -> None:
        """Ask for yellow flash, then read the request back. Raises: as ``select_plan``."""
        await self._request(approved.command.equipment, _pattern(approved.command))

    async def release(self, approved: Approved[ReleaseJunction]) -> None:
        """Give the controller back to its own plan, then read that back. Raises: as ``select_plan``."""
        await self._request(approved.command.equipment, oids.PATTERN_STANDBY)

    async def refresh(self, approved: Approved[SelectPlan] | Approved[RequestFlash]) -> None:
        """Repeat a request within its lease, which feeds the controller's watchdog. Raises: as ``select_plan``."""
        await self._request(approved.command.equipment, _pattern(approved.command))

    async def read_set_id(self) -> int | None:
        """Read globalSetIDParameter, the fingerprint of the stored configuration; None if there is none.

        Raises: as ``SnmpSession.get``.
        """
        values = await self._get_supported((oids.GLOBAL_SET_ID_PARAMETER,))
        return _optional("globalSetIDParameter", values.get(oids.GLOBAL_SET_ID_PARAMETER), 0xFFFF)

    async def close(self) -> None:
        """Close the socket. The controller is left as it is: release it first."""
        await self._session.close()

    async def _request(self, equipment: EquipmentId, pattern: int) -> None:
        """Write the one object this driver writes, and read it back."""
        if equipment != self.equipment_id:
            raise ValueError(f"approved for {equipment}, and this is {self.equipment_id}")
        self._writes += 1
        self._ours |= {pattern}  # From now on it may stand there, confirmed or not.
        try:
            await self._write(pattern)
            self._ours = frozenset({pattern})
        finally:
            self._writes += 1

    async def _write(self, pattern: int) -> None:
        try:
            await self._session.set(oids.SYSTEM_PATTERN_CONTROL, pattern)
        except DeviceSilentError:
            # The write or its confirmation was lost. Writing a value twice asks for no more than once, so a single
            # lost datagram need not cost a flash request.
            if await self._standing_request() == pattern:
                return
            await self._session.set(oids.SYSTEM_PATTERN_CONTROL, pattern)
        stands = await self._standing_request()
        if stands != pattern:
            raise DeviceNonsenseError(f"systemPatternControl was written {pattern} and reads {stands}")

    def _foreign(self, values: Mapping[str, Value], control: Value) -> int | None:
        """SR-31: what is requested of the controller and was not requested by us.

        That nothing is requested is the work of its watchdog, or of a restart, unless it says that it was released.
        """
        stands = values.get(oids.SYSTEM_PATTERN_CONTROL)
        if stands is None:
            return None
        found = whole("systemPatternControl", stands, 0, 0xFF)
        is_dropped = found == oids.PATTERN_STANDBY and control != STANDBY
        return None if found in self._ours or is_dropped else found

    async def _standing_request(self) -> int:
        values = await self._session.get((oids.SYSTEM_PATTERN_CONTROL,))
        return whole("systemPatternControl", values[oids.SYSTEM_PATTERN_CONTROL], 0, 0xFF)

    def _forget_unsupported(self) -> None:
        self.unsupported.clear()
        self._forgot_at_ms = self._now_ms()

    async def _tells(self, aspects: _Aspects) -> bool:
        try:
            values = await self._session.get(aspects.all)
        except NoSuchObjectError:
            return False
        return all(value is not None for value in values.values())

    async def _get_supported(self, wanted: Sequence[str], required: Sequence[str] = ()) -> Mapping[str, Value]:
        """Read what the controller has of ``wanted``, and all of ``required``, in one question.

        Raises:
            DeviceRefusedError: an object of ``required`` is missing.
        """
        # Ends: every turn but the last takes one object away.
        while True:
            asked = (*required, *(oid for oid in wanted if oid not in self.unsupported))
            if not asked:
                return {}
            try:
                return await self._session.get(asked)
            except NoSuchObjectError as error:
                if error.oid in required:
                    raise
                self.unsupported.add(error.oid)


def _pattern(command: SelectPlan | RequestFlash) -> int:
    if isinstance(command, RequestFlash):
        return oids.PATTERN_FLASH
    if not oids.PATTERN_MIN <= command.plan <= oids.PATTERN_MAX:
        raise ValueError(f"plan {oids.PATTERN_MIN}..{oids.PATTERN_MAX}, got {command.plan}")
    return command.plan


def _optional(name: str, value: Value, high: int) -> int | None:
    return None if value is None else whole(name, value, 0, high)
