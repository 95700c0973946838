"""A cabinet of canned equipment behind two real unix sockets: the real gate and grammar, no kernel, no hardware."""

import contextlib
import os
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from agent.model.command import Origin, Role
from agent.model.identity import CityId, GatewayId
from agent.model.observation import ClockQuality
from agent.safety.verdict import Refused
from agent.wire.envelope import parse, split_set
from agent.wire.errors import TrustError, WireError
from agent.wire.gate import Admitted, CommandGate, Declined, Nonces
from agent.wire.local import (
    EquipmentIs,
    EquipmentView,
    Failed,
    GetEquipment,
    GetLog,
    GetStatus,
    GetWhy,
    LatchView,
    LogEntry,
    LogIs,
    OutcomeIs,
    PointView,
    Rehearse,
    Reply,
    Request,
    Status,
    Submit,
    WhyIs,
    decode_request,
    frame,
)
from agent.wire.messages import SCHEMA, CommandMessage, Outcome, StreamHead, decode
from agent.wire.topics import down
from agent.wire.trust import KeyRing
from agent.wire.verbs import command_of
from tests.cli.wording import ENDS, LINK, NOTHING_SENT, RESET_HERE, STATES, SUPERVISED, WOULD_DO, latched, state_after
from tests.cli.wording import ended as said_at_the_end

CITY, GATEWAY = CityId("dijon"), GatewayId("gw-darcy")
NOW_MS = time.time_ns() // 1_000_000
HASH = bytes(32)
CONFLICT = "groups 1 and 3 green together"
PIDS = {"agent": 4711, "guard": 4698}
Answer = Callable[[Request], Reply | bytes]


def equipment() -> list[EquipmentView]:
    """A junction, a latched one, a bollard on an occupied loop, a segment with its lamp."""
    return [
        view(
            "j-republique",
            "junction",
            "guard",
            ["select-plan", "flash", "release", "reset"],
            points=[
                PointView("aspects", "GRRY", 0, NOW_MS, 120),
                PointView("pattern", 2, 0, NOW_MS, 120),
            ],
        ),
        view(
            "j-wilson",
            "junction",
            "guard",
            ["select-plan", "flash", "release", "reset"],
            mode="held",
            latch=LatchView("SR-02", CONFLICT, NOW_MS - 60_000),
        ),
        view(
            "bollard-rameau",
            "bollard",
            "guard",
            ["lower", "raise", "reset"],
            points=[
                PointView("state", "down", 0, NOW_MS, 300),
                PointView("loop_a", True, 0, NOW_MS, 300),
            ],
        ),
        view(
            "seg-darcy-1",
            "segment",
            "agent",
            ["set-level", "release-level"],
            holding="level 40 % for another 1710 s",
            points=[
                PointView("level_percent", 40, 2, NOW_MS, 42_000),
                PointView("power_w", 812.5, 3, NOW_MS, 3_000),
            ],
        ),
        view("lamp-darcy-101", "lamp", "", [], parent="seg-darcy-1"),
    ]


def view(
    id_: str,
    kind: str,
    executor: str,
    verbs: list[str],
    *,
    parent: str = "",
    mode: str = "supervised",
    latch: LatchView | None = None,
    holding: str = "",
    points: list[PointView] | None = None,
) -> EquipmentView:
    return EquipmentView(
        id=id_,
        kind=kind,
        name=f"the {kind}",
        latitude=47.32,
        longitude=5.04,
        parent=parent,
        executor=executor,
        verbs=verbs,
        mode=mode,
        mode_cause=f"{latch.rule}: {latch.reason}" if latch else SUPERVISED.cause,
        cleared_by=RESET_HERE if latch else SUPERVISED.cleared_by,
        latch=latch,
        holding=holding,
        link=LINK if points else "not reached yet",
        points=points or [],
    )


LOG = [
    LogEntry(
        NOW_MS - 90_000,
        "safety",
        7,
        "command.done",
        "bollard-rameau",
        "",
        f"lower: {ENDS['lower']}",
        {"verb": "lower", "issuer": "gw-darcy/tech/1", "state": STATES["bollard-rameau"]},
    ),
    LogEntry(
        NOW_MS - 60_000,
        "safety",
        8,
        "command.refused",
        "bollard-rameau",
        "SR-19",
        "raise: loop A is occupied",
        {"verb": "raise", "issuer": "gw-darcy/tech/1", "state": f"{NOTHING_SENT}; {STATES['bollard-rameau']}"},
    ),
]


class Executor:
    """One process: its own nonce and counters, its own socket.

    Args:
        refusals: verb -> what the kernel would say; others are done.
    """

    def __init__(self, name: str, ring: KeyRing, views: list[EquipmentView]) -> None:
        self.name = name
        self.views = views
        self.gate = CommandGate(ring, Nonces(os.urandom, 0))
        self.counters: dict[str, int] = {}
        self.refusals = {"raise": Refused("SR-19", "loop A is occupied")}
        self.ends = "done"
        self.admitted: list[CommandMessage] = []
        self.before_submit: Callable[[], None] = lambda: None
        self.forward: Executor | None = None

    def answer(self, request: Request) -> Reply | bytes:
        match request:
            case GetStatus():
                return self.status()
            case GetEquipment(id=id_):
                return EquipmentIs([each for each in self.views if id_ in ("", each.id)])
            case GetWhy(id=id_):
                return WhyIs(self.why(id_), [each for each in reversed(LOG) if each.equipment == id_])
            case GetLog(equipment=id_, limit=limit):
                return LogIs([each for each in LOG if id_ in ("", each.equipment)][-limit:])
            case Submit(sealed=sealed):
                return self.submit(sealed)
            case Rehearse(command=command):
                origin = Origin(Role.TECHNICIAN, ("rehearsal",))
                return self.judged(command, "rehearsal", origin, done="would-do")
            case _:
                return Failed("not canned")

    def status(self) -> Status:
        nonce = self.gate.nonces.current(0)
        stream = "safety" if self.name == "guard" else "audit"
        head, acked = StreamHead(stream, 1, 9, HASH), StreamHead(stream, 1, 7, HASH)
        return Status(
            self.name,
            GATEWAY,
            CITY,
            "Place Darcy",
            PIDS[self.name],
            11_520_000,
            nonce,
            self.counters,
            "up",
            [head],
            [acked],
            {"late ticks": 3} if self.name == "guard" else {"polls": 11_520},
            [latched("j-wilson", "SR-02", CONFLICT)] if self.name == "guard" else [],
        )

    def why(self, id_: str) -> str:
        mode = next((each for each in self.views if each.id == id_), None)
        state, cause = STATES.get(id_, "not observed yet"), mode.mode_cause if mode else SUPERVISED.cause
        holding = (mode.holding if mode else "") or "its own plan"
        return f"{state}; {holding}; mode {mode.mode if mode else 'supervised'} because {cause}"

    def submit(self, sealed: bytes) -> Reply:
        self.before_submit()
        if self.forward is not None and addressee(sealed) in {each.id for each in self.forward.views}:
            return self.forward.submit(sealed)  # Unread: each process has a gate and a nonce of its own.
        topic = down(CITY, GATEWAY, "cmd")
        try:
            now_ms = time.time_ns() // 1_000_000  # A command is good for seconds only.
            end = self.gate.admit(sealed, topic, self.counters, 0, now_ms, ClockQuality.NETWORK)
        except (WireError, TrustError) as error:
            return Failed(f"not believed: {error}; {NOTHING_SENT}")
        match end:
            case Admitted(message=message, kid=kid, origin=origin, counter=counter):
                self.counters[kid] = counter
                self.admitted.append(message)
                return self.judged(message, kid, origin, done=self.ends)
            case Declined(message=message, kid=kid, ended=ended, refused=refused):
                return self.outcome(message, kid, ended, refused)
        return Failed(f"this very command was delivered before; {NOTHING_SENT} again")

    def judged(self, message: CommandMessage, issuer: str, origin: Origin, *, done: str) -> OutcomeIs:
        command = command_of(message.verb, message.equipment, message.args, origin)
        refused = command if isinstance(command, Refused) else self.refusals.get(message.verb)
        return self.outcome(message, issuer, "refused" if refused else done, refused)

    def outcome(self, message: CommandMessage, issuer: str, ended: str, refused: Refused | None) -> OutcomeIs:
        state = STATES.get(message.equipment, "no such equipment under guard")
        rule, reason = "", WOULD_DO
        if ended != "would-do":
            reason = said_at_the_end(message.verb, message.args)
            state = state_after(message.verb, message.args, message.equipment)
        if refused is not None:
            known = STATES.get(message.equipment, "no such equipment under guard")
            rule, reason, state = refused.rule, refused.reason, f"{NOTHING_SENT}; {known}"
        return OutcomeIs(
            Outcome(
                SCHEMA,
                message.command_id,
                GATEWAY,
                message.equipment,
                message.verb,
                issuer,
                ended,
                rule,
                reason,
                state,
                NOW_MS,
            ),
            b"",
        )


def addressee(sealed: bytes) -> str:
    return decode(parse(split_set(sealed)[0]).payload, CommandMessage).equipment


@contextlib.contextmanager
def serving(path: Path, answer: Answer) -> Iterator[None]:
    """Serve on a unix socket for as long as the context lasts. An answer of bytes goes out as it is."""

    class Conversation(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                while head := self.rfile.read(4):
                    reply = answer(decode_request(self.rfile.read(int.from_bytes(head, "big"))))
                    if isinstance(reply, bytes):
                        self.wfile.write(reply)
                        return
                    self.wfile.write(frame(reply))

        def finish(self) -> None:
            with contextlib.suppress(OSError):
                super().finish()

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True
        request_queue_size = 32

    with Server(str(path), Conversation) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join(5)
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def mute(path: Path) -> Iterator[None]:
    """A process that takes calls and never says a word."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen(8)
        yield
    path.unlink()
