"""A junction as it truly is: lawful histories of its signals, drawn at random and as tight as the rules allow.

Independent of the observer: aspects are letters, the rules are the commissioned numbers, and nothing is sampled here.
"""

from bisect import bisect_right
from dataclasses import dataclass, field
from random import Random

from agent.model.equipment import GroupKind, Junction
from agent.model.observation import Calls, JunctionObserved

NORMAL, FLASHES = 2, (3, 4, 5, 6, 8)
START_UP_MS = 3_000
FLASH_MS_MIN = 2_500 + 300  # the observer's gap, and the longest reply


@dataclass
class TrueJunction:
    """Draw a lawful history of at least ``until_ms``.

    Changes happen the very millisecond the rules allow them, half of the time. A flash lasts longer than the observer's
    gap, as real ones do, so that none can hide between two samples.

    Args:
        red_ms_min: least red, for histories of which no change may hide between two samples.
        relay_ms: red comes that late and goes that early, as relays do; or it overlaps the end of a yellow for as long.
        waits_ms: nobody asks for a green for longer than this before it comes.
    """

    junction: Junction
    random: Random
    red_ms_min: int = 0
    relay_ms: int = 0
    waits_ms: int = 0
    now_ms: int = 0
    shown: dict[int, str] = field(default_factory=dict)
    flash: int = NORMAL
    history: list[tuple[int, dict[int, str], int]] = field(default_factory=list)
    periods: dict[int, list[tuple[int, int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.groups = {int(group.number): group for group in self.junction.groups}
        self.shown = dict.fromkeys(self.groups, "R")
        self.began_ms = dict.fromkeys(self.groups, 0)
        self.green_end_ms = dict.fromkeys(self.groups, -(10**9))
        self.note()

    def note(self) -> None:
        self.history.append((self.now_ms, dict(self.shown), self.flash))

    def change(self, number: int, aspect: str) -> None:
        if self.shown[number] == "G":
            self.green_end_ms[number] = self.now_ms
        self.shown[number], self.began_ms[number] = aspect, self.now_ms
        self.note()

    def wait_ms(self) -> int:
        return self.random.choice((0, 0, 1, self.random.randrange(3_000)))

    def at(self, moment_ms: int) -> None:
        self.now_ms = max(self.now_ms, moment_ms)

    def conflicting(self, number: int) -> list[int]:
        return [next(iter(pair - {number})) for pair in self.junction.conflicts if number in pair]

    def may_start_ms(self, number: int) -> int | None:
        """When a group may turn green; None while a conflicting one is not red."""
        moments = [self.now_ms, self.began_ms[number] + self.red_ms_min]
        for other in self.conflicting(number):
            if self.shown[other] != "R":
                return None
            moments.append(self.green_end_ms[other] + self.junction.intergreen_ms[other, number])
        return max(moments)

    def run(self, until_ms: int) -> "TrueJunction":
        while self.now_ms < until_ms:
            if self.random.random() < 0.04:
                self.go_through_flash()
                continue
            number = self.random.choice(list(self.groups))
            group = self.groups[number]
            match self.shown[number]:
                case "G":
                    self.at(self.began_ms[number] + group.green_ms_min)
                    self.at(self.now_ms + self.wait_ms())
                    self.change(number, "Y" if group.yellow_ms_min else "R")
                case "Y":
                    self.at(self.began_ms[number] + group.yellow_ms_min)
                    self.at(self.now_ms + self.wait_ms())
                    self.change(number, "R")
                case _ if (moment_ms := self.may_start_ms(number)) is not None:
                    self.at(moment_ms + self.wait_ms())
                    self.change(number, "G")
                case _:
                    self.at(self.now_ms + self.random.randrange(1, 400))
        return self

    def reds(self, number: int) -> list[tuple[int, int]]:
        """When a group was red, from and until, in normal running."""
        if number not in self.periods:
            periods: list[tuple[int, int]] = []
            began_ms: int | None = None
            for moment_ms, shown, flash in self.history:
                is_red = shown[number] == "R" and flash == NORMAL
                if is_red and began_ms is None:
                    began_ms = moment_ms
                elif not is_red and began_ms is not None:
                    periods.append((began_ms, moment_ms))
                    began_ms = None
            if began_ms is not None:
                periods.append((began_ms, 10**9))
            self.periods[number] = periods
        return self.periods[number]

    def red_at(self, number: int, true_ms: int) -> tuple[int, int] | None:
        """The red a group shows at a moment, from and until."""
        periods = self.reds(number)
        place = bisect_right(periods, true_ms, key=lambda period: period[0]) - 1
        return periods[place] if place >= 0 and true_ms < periods[place][1] else None

    def calls(self, asked_ms: int, true_ms: int, at_ms: int) -> Calls:
        """Who asks for a green: now and then somebody, and surely those who get it within ``waits_ms``."""
        masks = {False: 0, True: 0}
        for number, group in self.groups.items():
            red = self.red_at(number, true_ms)
            if red is not None and true_ms > red[1] - self.waits_ms and group.call_phase:
                masks[group.kind is GroupKind.PEDESTRIAN] |= 1 << (group.call_phase - 1)
        return Calls(at_ms, masks[False], masks[True], at_ms - asked_ms)

    def relays(self, true_ms: int, greens: int) -> tuple[int, int]:
        """Masks of groups whose red is not lit yet or any more, and of those that still show yellow beside it."""
        dark = both = 0
        for number, group in self.groups.items():
            red = self.red_at(number, true_ms)
            if red is None or not self.relay_ms:
                continue
            if number % 2 and (true_ms - red[0] < self.relay_ms or red[1] - true_ms <= self.relay_ms):
                dark |= group.bit
                continue
            against = any(greens & self.groups[other].bit for other in self.conflicting(number))
            if not number % 2 and group.yellow_ms_min and true_ms - red[0] < self.relay_ms and not against:
                both |= group.bit
        return dark, both

    def go_through_flash(self) -> None:
        """Flash cuts whatever shows; the way back is yellow, then all red, then as usual."""
        self.flash = self.random.choice(FLASHES)
        for number in self.groups:
            if self.shown[number] == "G":
                self.green_end_ms[number] = self.now_ms
        until_ms = self.now_ms + FLASH_MS_MIN + self.random.randrange(4_000)
        while self.now_ms < until_ms:
            self.shown = dict.fromkeys(self.groups, self.random.choice("Y-"))
            self.note()
            self.at(min(until_ms, self.now_ms + self.random.randrange(1, 700)))
        self.flash = self.random.choice((NORMAL, 7))
        self.shown = {number: "Y" if group.yellow_ms_min else "R" for number, group in self.groups.items()}
        self.note()
        self.at(self.now_ms + START_UP_MS)
        self.flash = NORMAL
        self.shown = dict.fromkeys(self.groups, "R")
        self.note()
        self.at(self.now_ms + self.random.randrange(0, 2_000))

    def sample(self, asked_ms: int, true_ms: int, at_ms: int) -> JunctionObserved:
        """What a question asked, looked at and answered at these moments brings back."""
        assert asked_ms <= true_ms <= at_ms
        _, shown, flash = self.history[bisect_right(self.history, true_ms, key=lambda moment: moment[0]) - 1]
        masks = {
            aspect: sum(self.groups[number].bit for number, letter in shown.items() if letter == aspect)
            for aspect in "GYR"
        }
        dark, both = self.relays(true_ms, masks["G"])
        return JunctionObserved(
            equipment=self.junction.id,
            at_ms=at_ms,
            greens=masks["G"],
            yellows=masks["Y"] | both,
            reds=masks["R"] & ~dark,
            control_status=2,
            flash_status=flash,
            pattern=1,
            backup_time_s=60,
            delay_ms=at_ms - asked_ms,
        )
