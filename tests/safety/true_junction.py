"""A junction as it truly is: lawful histories of its signals, drawn at random and as tight as the rules allow.

Independent of the observer: aspects are letters, the rules are the commissioned numbers, and nothing is sampled here.
"""

from bisect import bisect_right
from dataclasses import dataclass, field
from random import Random

from agent.model.equipment import Junction
from agent.model.observation import JunctionObserved

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
    """

    junction: Junction
    random: Random
    red_ms_min: int = 0
    now_ms: int = 0
    shown: dict[int, str] = field(default_factory=dict)
    flash: int = NORMAL
    history: list[tuple[int, dict[int, str], int]] = field(default_factory=list)

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
        return JunctionObserved(
            equipment=self.junction.id,
            at_ms=at_ms,
            greens=masks["G"],
            yellows=masks["Y"],
            reds=masks["R"],
            control_status=2,
            flash_status=flash,
            pattern=1,
            backup_time_s=60,
            delay_ms=at_ms - asked_ms,
        )
