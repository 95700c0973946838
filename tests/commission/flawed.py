"""Controllers with one guard taken out: what the search must find, each by the property it breaks."""

from agent.commission.controller import FLASH, NORMAL, START_UP, Choice, Controller, Shown, State
from agent.model.equipment import Junction


class NoIntergreen(Controller):
    """Starts as soon as the conflicting group has shown its yellow."""

    def is_clear(self, state: State, starting: int) -> bool:
        shown = self.shown(state)
        return not (shown.greens | shown.yellows) & self.foes[starting]


class NoInterlock(Controller):
    """Starts whatever the others show."""

    def is_clear(self, state: State, starting: int) -> bool:
        return True

    def decided(self, choice: Choice, stage: int) -> tuple[int, int]:
        return 0, choice.may_start & stage


class TurnedMatrix(Controller):
    """Takes each intergreen the wrong way round."""

    def __init__(self, junction: Junction, step_ms: int) -> None:
        super().__init__(junction, step_ms)
        self.intergreen = [list(column) for column in zip(*self.intergreen, strict=True)]


class ShortGreen(Controller):
    def __init__(self, junction: Junction, step_ms: int) -> None:
        super().__init__(junction, step_ms)
        self.green[-1] -= 1


class ShortYellow(Controller):
    def __init__(self, junction: Junction, step_ms: int) -> None:
        super().__init__(junction, step_ms)
        self.yellow[0] -= 1


class NoYellow(Controller):
    def shown(self, state: State) -> Shown:
        shown = super().shown(state)
        return Shown(shown.greens, 0 if state[0] == NORMAL else shown.yellows, shown.is_flashing)


class NoStartUp(Controller):
    def leave_flash(self, state: State) -> State:
        return (NORMAL, *super().leave_flash(state)[1:])


class HastyStartUp(Controller):
    def __init__(self, junction: Junction, step_ms: int) -> None:
        super().__init__(junction, step_ms)
        self.red_from -= 1


class ForgetfulFlash(Controller):
    """Loses its clocks in flash, and with them the intergreen of whatever flash cut short."""

    def flash(self, state: State) -> State:
        return (FLASH, *([0] * (len(state) - 1)))

    def run(self, state: State, ends: int, starts: int) -> State:
        phase, *clocks = super().run(state, ends, starts)
        return (NORMAL if phase > START_UP + 3 else phase, *clocks)


FLAWED: dict[type[Controller], set[str]] = {
    NoIntergreen: {"P4"},
    NoInterlock: {"P1"},
    TurnedMatrix: {"P4", "P1"},
    ShortGreen: {"P2"},
    ShortYellow: {"P3"},
    NoYellow: {"P3"},
    NoStartUp: {"P6"},
    HastyStartUp: {"P6", "P3"},
    ForgetfulFlash: {"P4"},
}
