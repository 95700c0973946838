"""Any order of commands, samples, silence, keys, restarts and power cuts: what is promised holds at every step.

The promises are kept here by a bookkeeper who sees only what anybody in the street could: what was shown, what was said,
what was sent to the controller, when the power failed, and what the disk held then.
"""

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from agent.model.command import Command, Role
from agent.model.observation import JunctionObserved
from agent.wire import envelope
from agent.wire.errors import TrustError, WireError
from agent.wire.messages import SCHEMA, CommandMessage, encode
from tests.proof.cabinet import Cabinet, CountsLate, CountsLateAndGuessed, ForgetsFlash, HoldsOn, LosesLatch
from tests.proof.gate_campaign import CAST, TOPIC, a_ring
from tests.proof.promises import contradicts
from tests.safety.facts import JUNCTION, J
from tests.wire.party import GATEWAY, T0_MS, signer

RING = a_ring()
ALL_RED, CONFLICT, YELLOW_TOO, STRANGER = (0, 0), (0b0011, 0), (0b0001, 0b0010), (1 << 40, 0)
GREEN_1 = (0b0001, 0)
ISSUERS = [person for person in CAST if person.kid in ("alice/1", "bruno/1", f"{GATEWAY}/tech/1")]
CUTS = st.one_of(st.none(), st.none(), st.integers(0, 5))
"""After how many steps the power fails; mostly it does not."""


class Town(RuleBasedStateMachine):
    """The world around one cabinet."""

    kind: type[Cabinet] = Cabinet

    def __init__(self) -> None:
        super().__init__()
        random = Random(0)
        self.cabinet = self.kind(RING, self.receive, random.randbytes)
        self.captured: list[tuple[bytes, tuple[str, int]]] = []
        self.giving: tuple[str, int] | None = None
        self.given: set[tuple[str, int]] = set()
        self.cabinet.disk.caught_up = self.note_what_lasts
        self.fault_shown = False  # A contradiction was looked at, and there was no reset since.
        self.observers_flashes = 0
        self.lasting = False, 0  # Both, as they were when the disk last had time to take everything.
        self.peoples_flash_ms: int | None = None
        self.message = 0

    # What happens.

    @rule(
        lights=st.sampled_from([ALL_RED, ALL_RED, GREEN_1, CONFLICT, YELLOW_TOO, STRANGER]),
        flash=st.sampled_from([2, 2, 2, 3, 7]),
        after_ms=st.sampled_from([100, 100, 200, 201, 1_000, 3_000, 10_000]),
        cut=CUTS,
        disk=st.booleans(),
    )
    def look(self, lights: tuple[int, int], flash: int, after_ms: int, cut: int | None, disk: bool) -> None:
        """The controller answers; its lights may contradict each other."""
        self.cabinet.now_ms += after_ms
        seen = JunctionObserved(J, self.cabinet.now_ms, *lights, 0b1111 & ~(lights[0] | lights[1]), 2, flash, 1, 60)
        is_wrong = contradicts(JUNCTION, seen)
        steps = self.cabinet.look(seen)
        if is_wrong:
            next(steps, None)  # Seen, and latched in memory before anything else.
            assert self.cabinet.latch is not None, "a contradiction was seen, and nothing is latched"
            self.fault_shown = True
        self.run_until(steps, cut, disk=disk)

    @rule(
        issuer=st.sampled_from(ISSUERS),
        second=st.booleans(),
        verb=st.sampled_from(["select-plan", "select-plan", "flash", "release", "reset", "reset"]),
        plan=st.sampled_from([1, 2, 3, 253]),
        lease_s=st.sampled_from([1, 60, 3_600, 3_601]),
        is_seen=st.sampled_from([True, True, False]),
        cut=CUTS,
        disk=st.booleans(),
    )
    def command(
        self, issuer: Any, second: bool, verb: str, plan: int, lease_s: int, is_seen: bool, cut: int | None, disk: bool
    ) -> None:
        """Somebody who looked just now, or did not, signs a command with their next counter, alone or with a second."""
        if is_seen:
            self.look(ALL_RED, 2, 100, None, disk=disk)
        args: dict[str, Any] = {"select-plan": {"plan": plan, "lease_s": lease_s}, "flash": {"lease_s": lease_s}}.get(
            verb, {}
        )
        self.message += 1
        message = CommandMessage(
            schema=SCHEMA,
            command_id=f"c-{self.message}",
            issuer=issuer.kid,
            gateway=GATEWAY,
            equipment=J,
            verb=verb,
            args=args,
            nonce=self.cabinet.gate.nonces.current(self.cabinet.now_ms),
            counter=self.message,
            issued_ms=T0_MS,
            not_after_ms=T0_MS + self.cabinet.now_ms + 30_000,
            expect_point=None,
            expect_value=None,
        )
        signers = [issuer, *(person for person in ISSUERS if second and person.role == issuer.role != "technician")]
        kids = dict.fromkeys(person.kid for person in signers)
        sealed = envelope.join_set([signer(kid).seal(encode(message), TOPIC) for kid in kids])
        self.captured.append((sealed, (issuer.kid, self.message)))
        self.deliver(len(self.captured) - 1, cut, disk=disk)

    @precondition(lambda self: self.captured)
    @rule(which=st.integers(0, 30), cut=CUTS)
    def replay(self, which: int, cut: int | None) -> None:
        """Whoever carries commands delivers an old one again."""
        self.deliver(-1 - which % len(self.captured), cut, disk=False)

    @rule(ms=st.sampled_from([1, 1_000, 10_000, 30_000, 120_001, 599_999, 600_000]))
    def wait(self, ms: int) -> None:
        self.cabinet.now_ms += ms

    @rule()
    def hear_the_fleet(self) -> None:
        self.cabinet.heard_at_ms = self.cabinet.now_ms

    @rule(door=st.booleans(), key=st.booleans())
    def go_to_the_cabinet(self, door: bool, key: bool) -> None:
        self.cabinet.door_open, self.cabinet.local_key = door, key

    @rule()
    def catch_up(self) -> None:
        self.cabinet.disk.catch_up()

    @rule()
    def cut_the_power(self) -> None:
        """Memory is gone, and what the disk had no time to take. A fault that lasts will trip again."""
        self.fault_shown, self.observers_flashes = self.lasting
        self.cabinet.restart()

    # How it happens.

    def note_what_lasts(self) -> None:
        self.lasting = self.fault_shown, self.observers_flashes

    def deliver(self, which: int, cut: int | None, *, disk: bool) -> None:
        sealed, self.giving = self.captured[which]
        try:
            self.run_until(self.cabinet.submit(sealed), cut, disk=disk)
        except (WireError, TrustError) as error:
            raise AssertionError("a message of the cast is not believed") from error
        self.giving = None

    def run_until(self, steps: Iterator[str], cut: int | None, *, disk: bool) -> None:
        """Take the steps; when the power fails in between, the rest never happens."""
        for number, _ in enumerate(steps):
            if number == cut:
                self.cut_the_power()
                return
        if disk:
            self.cabinet.disk.catch_up()

    def receive(self, what: str, command: Command) -> None:
        """What reaches the controller, and what must hold of it."""
        now_ms = self.cabinet.now_ms
        if self.giving is not None:
            assert self.giving not in self.given, f"{what}: one command, carried out twice"
            self.given.add(self.giving)
        match what:
            case "plan" | "refresh":
                assert not self.fault_shown, f"{what} in spite of a fault"
                assert getattr(command, "plan", 1) in JUNCTION.plans, f"{what} of a plan nobody commissioned"
                is_far = command.origin.role is Role.OPERATOR
                assert not (is_far and now_ms - self.cabinet.heard_at_ms > 120_000), f"{what}: the fleet is silent"
            case "flash":
                assert not self.fault_shown, "flash of somebody in spite of a fault"
                last_ms, self.peoples_flash_ms = self.peoples_flash_ms, now_ms
                assert last_ms is None or now_ms - last_ms >= 600_000, "flash twice in ten minutes"
                people, is_there = set(command.origin.subjects), self.cabinet.door_open and self.cabinet.local_key
                assert len(people) > 1 or is_there, "flash on the word of one far away"
            case "observer's flash":
                self.observers_flashes += 1
                assert self.observers_flashes == 1, "the observer asks for flash twice for one latch"
            case "reset":
                presence = self.cabinet.presence
                assert command.origin.role is Role.TECHNICIAN, "a reset by an operator"
                assert presence is not None, "a reset with nobody there"
                assert (presence.door_open, presence.local_key) == (True, True), "a reset with nobody there"
                self.fault_shown, self.observers_flashes, self.lasting = False, 0, (False, 0)

    # What always holds.

    @invariant()
    def a_latch_is_there_until_somebody_resets_it_on_site(self) -> None:
        assert not self.fault_shown or self.cabinet.latch is not None

    @invariant()
    def what_the_disk_holds_is_held(self) -> None:
        assert self.cabinet.disk.latch is None or self.cabinet.latch is not None

    @invariant()
    def nothing_is_held_under_a_latch(self) -> None:
        assert self.cabinet.latch is None or self.cabinet.lease is None

    @invariant()
    def whatever_is_held_has_an_end(self) -> None:
        lease = self.cabinet.lease
        assert lease is None or lease.ends_at_ms <= lease.approved.at_ms + 3_600_000


QUICK = settings(
    max_examples=250, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)
PLANTED = settings(
    QUICK, max_examples=1_500, derandomize=True, database=None, print_blob=False, phases=(Phase.generate,)
)
LONG = settings(PLANTED, stateful_step_count=200)
"""For what takes many steps. In histories of 40 it was found after 560 on average, so now and then not in 1,500."""


def test_whatever_happens_in_whatever_order_the_promises_hold() -> None:
    run_state_machine_as_test(Town, settings=QUICK)


@pytest.mark.no_cover
def test_a_command_that_is_counted_late_needs_a_foreseeable_nonce_too_to_be_carried_out_twice() -> None:
    """Counter and nonce each suffice against a replay; only without both is one carried out again."""
    late, both = (type("Town", (Town,), {"kind": kind}) for kind in (CountsLate, CountsLateAndGuessed))
    run_state_machine_as_test(late, settings=settings(QUICK, derandomize=True, database=None, print_blob=False))
    with pytest.raises(AssertionError):
        run_state_machine_as_test(both, settings=PLANTED)


@pytest.mark.no_cover
@pytest.mark.parametrize(("kind", "histories"), [(LosesLatch, PLANTED), (HoldsOn, PLANTED), (ForgetsFlash, LONG)])
def test_a_planted_fault_is_found(kind: type[Cabinet], histories: settings) -> None:
    town = type("Town", (Town,), {"kind": kind})
    with pytest.raises(AssertionError):
        run_state_machine_as_test(town, settings=histories)
