"""A guard whose key is in a token: it signs what the fleet believes, and only then loads what that takes."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from agent.wire.envelope import ESP256, parse
from agent.wire.keyfile import Signer
from agent.wire.local import OutcomeIs, Submit
from agent.wire.sealing import open_result
from agent.wire.token import make_key
from agent.wire.topics import up
from agent.wire.trust import KeyEntry
from tests.guard.living import J, living_guard
from tests.guard.officers import Officers
from tests.softtoken import soft_token

pytestmark = pytest.mark.slow
RSS_BYTES_MAX = 60_000_000


async def test_a_guard_signs_with_a_key_that_stays_in_a_token(require_program: Callable[[str], Path]) -> None:
    token = soft_token(require_program("softhsm2-util"))
    async with living_guard() as guard:
        people, keys = guard.people, guard.site.parent / "state/keys"
        kid = f"{people.gateway}/guard/2"
        signer = Signer(kid, make_key(token, f"guard-{os.getpid()}"))
        (keys / "guard.pem").unlink()
        signer.write(keys / "guard.pem")
        entry = KeyEntry(
            kid, ESP256, signer.public_key, f"{people.gateway}/guard", "guard", ("up",), (people.gateway,), 0, 2**62
        )
        officers = Officers(guard.site.parent / "trust")
        sealed = officers.sign(more=[entry])
        (keys / "keys.sealed").write_bytes(sealed)
        await guard.start()
        assert guard.process is not None
        message = people.message(
            people.technician, J, "select-plan", (await guard.status()).nonce, {"plan": 2, "lease_s": 300}
        )
        reply = await guard.client.ask(Submit(people.seal(message, people.technician)))
        assert isinstance(reply, OutcomeIs)
        assert reply.outcome.ended == "done"
        topic = up(people.city, people.gateway, "result")
        assert open_result(officers.ring(sealed), reply.sealed, topic, people.clock_ms()) == (reply.outcome, "guard")
        assert (parse(reply.sealed).algorithm, parse(reply.sealed).kid) == (ESP256, kid.encode())
        assert psutil.Process(guard.process.pid).memory_info().rss < RSS_BYTES_MAX
        assert await guard.end(signal.SIGTERM) == (0, "")
