"""Sealed bytes to the gate, what it admits to the kernel, and the power cut in between."""

import pytest

from agent.wire import gate
from tests.proof.campaign import Tally
from tests.proof.gate_campaign import run_gate_chunk

CHUNKS = 4


def attacked(chunks: int) -> Tally:
    total = Tally()
    for chunk in range(chunks):
        total.add(run_gate_chunk(1, chunk))
        if total.faults:
            break
    return total


def test_two_thousand_sealed_messages_are_admitted_exactly_when_nothing_is_wrong_with_them() -> None:
    total = attacked(CHUNKS)
    assert total.faults == []
    assert total.cases == 2_000
    assert set(total.refused) >= {"Declined", "Repeated", "SignatureError", "UnknownKeyError", "CapabilityError"}
    assert sum(total.approved.values()) > 100


@pytest.mark.parametrize("check", ["_used_up", "_out_of_bounds"])
def test_the_attack_finds_a_gate_that_forgets_a_check(check: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, check, lambda *_: None)
    assert attacked(CHUNKS).faults


def test_the_attack_finds_a_gate_that_believes_any_nonce(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate.Nonces, "is_fresh", lambda *_: True)
    assert attacked(CHUNKS).faults
