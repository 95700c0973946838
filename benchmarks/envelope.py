"""Sealing and opening, beside the bare signature."""

import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.model.identity import GatewayId
from agent.wire import envelope
from agent.wire.demotrust import make_demo_trust
from agent.wire.keyfile import read_signer
from agent.wire.messages import Batch, decode
from agent.wire.roots import read_roots
from agent.wire.sealing import open_batch, seal_message
from agent.wire.topics import up
from agent.wire.trust import KeyRing, load_key_list
from benchmarks.bench import Run
from benchmarks.table import Table
from benchmarks.town import CITY
from benchmarks.voice import batch_of

GATEWAY = GatewayId("gw-1")
SAMPLES = 100
METHOD = (
    f"In one process, one thread: a `state` batch of {SAMPLES} samples is encoded and sealed (Ed25519, COSE_Sign1), and "
    "opened again as the fleet does it: parse, look the key up, verify, decode, check the columns. The bound is the bare "
    "Ed25519 signature of `cryptography` over as many bytes. Each value is one round."
)


def measure(run: Run) -> Table:
    """Seal and open again and again."""
    table = Table("Envelopes", METHOD)
    folder = run.folder / "trust"
    now_ms = time.time_ns() // 1_000_000
    make_demo_trust(folder, CITY, [GATEWAY], now_ms=now_ms)
    signer = read_signer(folder / "gateways" / GATEWAY / "agent.pem")
    ring = _ring(folder)
    topic = up(CITY, GATEWAY, "state")
    batch = batch_of(GATEWAY, "state", 1, bytes(32), SAMPLES, now_ms)
    sealed = seal_message(signer, topic, batch)
    payload = envelope.parse(sealed).payload
    key = Ed25519PrivateKey.generate()
    public, signature = key.public_key(), key.sign(payload)
    calls: dict[str, Callable[[], object]] = {
        "encode and seal": lambda: seal_message(signer, topic, batch),
        "bare signature": lambda: key.sign(payload),
        "open: verify, decode, check": lambda: open_batch(ring, sealed, topic, now_ms),
        "bare verification": lambda: public.verify(signature, payload),
        "decode alone": lambda: decode(payload, Batch),
    }
    rounds = run.count(20, 3)
    rates: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds):
        run.advance("rounds", number, rounds)
        for name, call in calls.items():
            rates[name].append(_rate(call, run.count(2_000, 200)))
    for name, values in rates.items():
        table.add(name, "1/s", values)
    for ours, bound in (("encode and seal", "bare signature"), ("open: verify, decode, check", "bare verification")):
        ratios = [mine / bare for mine, bare in zip(rates[ours], rates[bound], strict=True)]
        table.add(f"{ours} : {bound}", "ratio of rates", ratios)
    table.remarks.append(
        f"the envelope of {SAMPLES} samples has {len(sealed):,} bytes, {len(sealed) / SAMPLES:.1f} a sample"
    )
    return table


def _ring(folder: Path) -> KeyRing:
    return load_key_list((folder / "keys.sealed").read_bytes(), read_roots((folder / "roots.toml").read_text()))


def _rate(call: Callable[[], object], calls: int) -> float:
    began_s = time.perf_counter()
    for _ in range(calls):
        call()
    return calls / (time.perf_counter() - began_s)
