"""A reference junction without sockets, and how to ask it things."""

from simulators.clock import ManualClock
from simulators.signal_controller.agent import Communities
from simulators.signal_controller.controller import SignalController
from simulators.signal_controller.event_log import EventLog
from simulators.signal_controller.oids import Oid
from simulators.signal_controller.program import dual_ring_program
from simulators.signal_controller.rings import RingKernel
from simulators.signal_controller.signal_cabinet import SignalCabinet
from simulators.signal_controller.traffic import Traffic
from simulators.snmp_message import GET, SET, V1, Message, Value, decode, encode, integer


def unjudged_cabinet(
    communities: Communities | None = None, traffic: Traffic | None = None, backup_s: int = 60, started: bool = True
) -> SignalCabinet:
    """A cabinet on a ManualClock; nothing listens, and no conflict monitor looks: see the fixture ``cabinet_by_hand``."""
    program, log = dual_ring_program(), EventLog()
    controller = SignalController(program, RingKernel(program, log), log, traffic, backup_s, started)
    return SignalCabinet(controller, ManualClock(), communities or Communities(), epoch_s=0)


def run(cabinet: SignalCabinet, seconds: float) -> None:
    """Let time pass."""
    assert isinstance(cabinet.stand.clock, ManualClock)
    cabinet.stand.clock.advance(seconds)
    cabinet.stand.step()


def ask(
    cabinet: SignalCabinet, kind: int, *varbinds: tuple[Oid, Value], version: int = V1, community: str = "dijon-write"
) -> Message:
    """Send one request through the codec, both ways."""
    request = Message(version, community.encode(), kind, 77, tuple(varbinds))
    answer = cabinet.responder.answer(encode(request))
    assert answer is not None
    return decode(answer)


def get(cabinet: SignalCabinet, oid: Oid) -> int:
    """Read one number."""
    answer = ask(cabinet, GET, (oid, Value(0x05)))
    assert answer.status == 0
    return answer.varbinds[0][1].as_int()


def set_to(cabinet: SignalCabinet, oid: Oid, number: int) -> int:
    """Write one number; return the error-status."""
    return ask(cabinet, SET, (oid, integer(number))).status
