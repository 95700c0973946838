"""What no junction may ever show: an auditor that sees aspects only, step by step, and keeps time by itself. Pure.

P1  no two conflicting groups with right of way at once, and no green against a yellow
P2  no green shorter than its minimum          P3  no yellow shorter than its floor, or left out
P4  no green sooner after a conflicting one than the intergreen, nor than the street takes to clear
P6  no green after flash but through yellow, then all red

(P5, every stage is served, is a question to the whole search: ``response``.) It shares no table with the controller.
"""

from dataclasses import dataclass

from agent.commission.clearance import required_ms
from agent.commission.controller import START_UP_YELLOW_MS_MIN, Shown
from agent.commission.stages import places
from agent.model.equipment import Junction, SignalGroup

GREEN, YELLOW, RED, FLASHING = "GYRF"
LONG_AGO = -1
"""Instead of a number of steps: longer than anything counts."""

Memory = tuple[str, int, int]
"""Of one group: its aspect, for how many steps, how many steps ago its green ended."""
Order = tuple[str, int]
"""How far out of flash: NORMAL, or what shows since and for how many steps."""
Audit = tuple[Order, tuple[Memory, ...]]

NORMAL: Order = ("", 0)


@dataclass(frozen=True, slots=True)
class Breach:
    """One broken property.

    Args:
        property: ``P1`` ... ``P6``.
        groups: numbers of the groups involved.
        text: what was seen and what was expected.
    """

    property: str
    groups: tuple[int, ...]
    text: str


class Auditor:
    """The properties of one junction."""

    def __init__(self, junction: Junction, step_ms: int) -> None:
        self._groups = junction.groups
        self._step_ms = step_ms
        places_of = {group.number: n for n, group in enumerate(junction.groups)}
        self._foes: list[dict[int, int]] = [{} for _ in junction.groups]
        for pair in junction.conflicts:
            for ending in pair:
                (starting,) = pair - {ending}
                least_ms = max(required_ms(junction, ending), junction.intergreen_ms.get((ending, starting), 0))
                self._foes[places_of[starting]][places_of[ending]] = least_ms
        self._foe_masks = [sum(1 << foe for foe in foes) for foes in self._foes]
        self._counts = [  # Per group, in steps: from then on its end of green binds nobody.
            -(-max([0, *(foes[n] for foes in self._foes if n in foes)]) // step_ms) for n in range(len(self._groups))
        ]
        self._with_yellow = sum(1 << n for n, group in enumerate(junction.groups) if group.yellow_ms_min)
        self._known: dict[tuple[int, Memory, str], tuple[Memory, str]] = {}
        self.start: Audit = (("F", 0), tuple((FLASHING, 0, LONG_AGO) for _ in junction.groups))

    def see(self, audit: Audit, shown: Shown) -> tuple[Audit, Breach | None]:
        """Take in what shows for the next step."""
        order, memories = audit
        breach = self._together(shown)
        now = []
        started = 0
        for n, memory in enumerate(memories):
            aspect = self._aspect(n, shown)
            if aspect == GREEN != memory[0]:
                started |= 1 << n
            next_, wrong = self._remember(n, memory, aspect)
            now.append(next_)
            if wrong and breach is None:
                breach = self._wrong(wrong, n, memory)
        order, is_orderly = self._order(order, shown)
        if not is_orderly and breach is None:
            breach = Breach("P6", (), "flash was left otherwise than through yellow for 3 s, then all red")
        if started and breach is None:
            breach = self._too_soon(started, now)
        return (order, tuple(now)), breach

    @staticmethod
    def _aspect(n: int, shown: Shown) -> str:
        if shown.is_flashing:
            return FLASHING
        return GREEN if shown.greens >> n & 1 else YELLOW if shown.yellows >> n & 1 else RED

    def _together(self, shown: Shown) -> Breach | None:
        for n in places(shown.greens):
            if against := (shown.greens | shown.yellows) & self._foe_masks[n]:
                foe = next(places(against))
                what = "green" if shown.greens >> foe & 1 else "yellow"
                numbers = (self._groups[n].number, self._groups[foe].number)
                return Breach("P1", numbers, f"group {numbers[0]} is green while group {numbers[1]} is {what}")
        return None

    def _remember(self, n: int, memory: Memory, aspect: str) -> tuple[Memory, str]:
        key = (n, memory, aspect)
        if key not in self._known:
            self._known[key] = _remembered(self._groups[n], memory, aspect, self._step_ms, self._counts[n])
        return self._known[key]

    def _wrong(self, property_: str, n: int, memory: Memory) -> Breach:
        group = self._groups[n]
        aspect, least_ms = ("green", group.green_ms_min) if property_ == "P2" else ("yellow", group.yellow_ms_min)
        lasted_ms = memory[1] * self._step_ms if (property_ == "P2") == (memory[0] == GREEN) else 0
        text = f"group {group.number} was {aspect} for {lasted_ms / 1000:g} s, at least {least_ms / 1000:g} s are due"
        return Breach(property_, (group.number,), text)

    def _too_soon(self, started: int, now: list[Memory]) -> Breach | None:
        for n in places(started):
            for foe, least_ms in self._foes[n].items():
                since = now[foe][2]
                if since != LONG_AGO and since * self._step_ms < least_ms:
                    pair = (self._groups[foe].number, self._groups[n].number)
                    seen = f"{since * self._step_ms / 1000:g} s after group {pair[0]}"
                    text = f"group {pair[1]} turned green {seen}, at least {least_ms / 1000:g} s are due"
                    return Breach("P4", pair, text)
        return None

    def _order(self, order: Order, shown: Shown) -> tuple[Order, bool]:
        """Where in the way out of flash we are, and whether it was kept."""
        if shown.is_flashing:
            return ("F", 0), True
        name, steps = order
        is_yellow = not shown.greens and shown.yellows == self._with_yellow
        enough = -(-START_UP_YELLOW_MS_MIN // self._step_ms)
        if name == "F":
            return ("Y", 1), is_yellow
        if name == "Y":
            if is_yellow:
                return ("Y", min(steps + 1, enough)), True
            is_red = not shown.greens and not shown.yellows
            return ("R", 1) if is_red else NORMAL, steps >= enough and (is_red or not self._with_yellow)
        return NORMAL, True


def _remembered(group: SignalGroup, memory: Memory, aspect: str, step_ms: int, counts: int) -> tuple[Memory, str]:
    """The next memory of one group, and the property its change breaks."""
    was, steps, since = memory
    wrong = ""
    if was == GREEN and aspect != GREEN:
        since = 0
        if aspect != FLASHING:
            if steps * step_ms < group.green_ms_min:
                wrong = "P2"
            elif aspect == RED and group.yellow_ms_min:
                wrong = "P3"
    elif since != LONG_AGO:
        since = since + 1 if since + 1 < counts else LONG_AGO
    if was == YELLOW and aspect in {GREEN, RED} and (aspect == GREEN or steps * step_ms < group.yellow_ms_min):
        wrong = "P3"
    if aspect == GREEN:
        since = LONG_AGO  # Its next end begins anew.
    longest_ms = {GREEN: group.green_ms_min, YELLOW: group.yellow_ms_min}.get(aspect, 0)
    steps = min(1 if aspect != was else steps + 1, -(-longest_ms // step_ms))
    return (aspect, steps, since), wrong
