"""The menu of faults. Every simulated device lists those it supports and is broken by name.

A fault is named ``name`` or ``name:argument``: ``silent``, ``slow:2``, ``stuck_green:3``.
The same words serve tests (``device.fault("silent")``), the control socket and the command line.
"""

from collections.abc import Iterable
from dataclasses import dataclass

ARGUMENT_LENGTH_MAX = 64


class FaultError(ValueError):
    """The fault does not exist, is not supported here, or its argument makes no sense."""


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One line of the menu. ``argument`` is empty when the fault takes none."""

    name: str
    meaning: str
    argument: str = ""
    default: str = ""


MENU: dict[str, FaultKind] = {
    kind.name: kind
    for kind in (
        FaultKind("silent", "requests are not answered"),
        FaultKind("slow", "answers come late", "seconds", "2"),
        FaultKind("late_reply", "each answer is held back until the next request, then sent before its own answer"),
        FaultKind("wrong_request_id", "answers carry another request's number"),
        FaultKind("wrong_value", "readings are nonsense"),
        FaultKind("exception", "every request is answered by this error", "code", "4"),
        FaultKind("refuse_set", "writes are refused, reads work"),
        FaultKind("torn_reply", "answers stop half way"),
        FaultKind("disconnect", "the link is closed instead of an answer"),
        FaultKind("octet_string", "whole numbers are answered as octet strings"),
        FaultKind("power_cut", "mains are off"),
        FaultKind("door_open", "the cabinet's door is open"),
        FaultKind("local_key", "the key stands on LOCAL"),
        FaultKind("frozen_heartbeat", "the device's own heartbeat counter stands still"),
        FaultKind("stuck_green", "the lamp output of a channel stays on green", "channel", "1"),
        FaultKind("red_lamp_out", "the red lamp of a channel is dead", "channel", "1"),
        FaultKind("stuck_red", "a phase is called and never served", "phase", "4"),
        FaultKind("config_changed", "the stored configuration is another one, and so is its id"),
        FaultKind("local_flash", "a technician has switched the junction to flash"),
        FaultKind("loop_fault", "the vehicle loops report a defect"),
        FaultKind("loop_occupied", "a vehicle stands on a loop", "A or B", "A"),
        FaultKind("pressure", "the pressure switch has tripped"),
        FaultKind("both_limits", "both travel limit switches are closed"),
        FaultKind("stuck_drive", "the drive runs and nothing moves"),
        FaultKind("ignore_loops", "neither loops nor the pressure edge stop a rise"),
        FaultKind("no_warning", "a rise begins without its warning time"),
        FaultKind("no_timeout", "travel times are not watched"),
        FaultKind("endless_reversals", "reversals are counted and not limited"),
        FaultKind("bounce", "a reversed bollard rises again before it is down"),
        FaultKind("rise_on_power", "the bollard rises by itself when mains return"),
        FaultKind("green_lamp_on", "the green lamp burns whatever the bollard does"),
        FaultKind("breaker", "the breaker of a segment has tripped", "segment", "0"),
        FaultKind("stuck_contactor", "the contactor of a segment ignores its command", "segment", "0"),
        FaultKind("lamps_out", "a third of the lamps of a segment is dead", "segment", "0"),
        FaultKind("earth_leakage", "the earth leakage relay has tripped"),
    )
}


def parse(spec: str) -> tuple[str, str]:
    """Split ``name:argument``; the argument may be left out.

    Raises:
        FaultError: no such fault, an argument too many, or one out of shape.
    """
    name, _, argument = spec.strip().partition(":")
    kind = MENU.get(name)
    if kind is None:
        raise FaultError(f"no such fault {name[:ARGUMENT_LENGTH_MAX]!r}; known: {', '.join(sorted(MENU))}")
    if argument and not kind.argument:
        raise FaultError(f"fault {name} takes no argument")
    if len(argument) > ARGUMENT_LENGTH_MAX:
        raise FaultError(f"argument of {name} is longer than {ARGUMENT_LENGTH_MAX} characters")
    argument = argument or kind.default
    if kind.argument in ("seconds", "code", "channel", "segment"):
        _require_number(kind, argument)
    elif kind.argument == "A or B" and argument.upper() not in ("A", "B"):
        raise FaultError(f"fault {name} wants A or B, got {argument!r}")
    return name, argument.upper() if kind.argument == "A or B" else argument


def _require_number(kind: FaultKind, argument: str) -> None:
    whole = kind.argument != "seconds"
    limit = 3600 if not whole else 255
    try:
        value = int(argument) if whole else float(argument)
    except ValueError:
        raise FaultError(f"fault {kind.name} wants a number ({kind.argument}), got {argument!r}") from None
    if not 0 <= value <= limit:
        raise FaultError(f"{kind.argument} of {kind.name} must be 0..{limit}, got {argument}")


class FaultPanel:
    """The switches of one device."""

    def __init__(self, supported: Iterable[str]) -> None:
        self.supported = tuple(supported)
        unknown = [name for name in self.supported if name not in MENU]
        assert not unknown, f"faults missing from the menu: {unknown}"
        self._active: set[tuple[str, str]] = set()

    def switch(self, spec: str, on: bool = True) -> None:
        """Switch one fault. Off without an argument clears every form of it; ``all`` off clears everything.

        Raises:
            FaultError: unknown, or this device cannot have it.
        """
        if spec == "all" and not on:
            self._active.clear()
            return
        name, argument = parse(spec)
        if name not in self.supported:
            raise FaultError(f"fault {name} is not possible here; possible: {', '.join(self.supported)}")
        if on:
            if MENU[name].argument in ("seconds", "code"):
                self._active = {entry for entry in self._active if entry[0] != name}
            self._active.add((name, argument))
        elif ":" in spec:
            self._active.discard((name, argument))
        else:
            self._active = {entry for entry in self._active if entry[0] != name}

    def on(self, name: str) -> bool:
        """Tell whether the fault is on in any form."""
        return any(entry[0] == name for entry in self._active)

    def numbers(self, name: str) -> tuple[int, ...]:
        """Return the channels or segments a fault stands on, in order."""
        return tuple(sorted(int(argument) for entry, argument in self._active if entry == name))

    def letters(self, name: str) -> frozenset[str]:
        """Return the loops a fault stands on."""
        return frozenset(argument for entry, argument in self._active if entry == name)

    def seconds(self, name: str) -> float:
        """Return the delay of a fault, 0 when it is off."""
        return max((float(argument) for entry, argument in self._active if entry == name), default=0.0)

    def listed(self) -> list[str]:
        """Return the active faults as they are written, sorted."""
        return sorted(f"{name}:{argument}" if argument else name for name, argument in self._active)
