"""An agent whose key is in a token that is slow, or was taken out: it says so, and its lamps go on."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.process.client import LocalClient
from agent.wire.envelope import ESP256, parse
from agent.wire.keyfile import Signer
from agent.wire.local import GetStatus, OutcomeIs, Status, Submit
from agent.wire.sealing import open_result
from agent.wire.token import TokenError, make_key
from agent.wire.topics import up
from agent.wire.trust import KeyEntry
from tests.guard.officers import Officers
from tests.runtime.living import living_agent
from tests.runtime.rig import SEGMENT, LampRig, lamp_rig
from tests.softtoken import soft_token
from tests.waiting import wait_until

LEVEL = {"level_percent": 50, "lease_s": 600}


class FarKey:
    """A key that is not in this process, and signs when it pleases; as a ``keyfile.Key``."""

    reference = "pkcs11:"

    def __init__(self, own: Signer) -> None:
        self._own = own
        self.algorithm, self.public_key = own.algorithm, own.public_key
        self.asked, self.free, self.is_out = threading.Event(), threading.Event(), False

    def sign(self, message: bytes) -> bytes:
        """Sign once ``free``."""
        if self.is_out:
            raise TokenError("token 'armoire': TokenNotPresent; nothing was signed")
        self.asked.set()
        assert self.free.wait(10)
        return self._own.sign(message)


def put_apart(rig: LampRig) -> FarKey:
    own = rig.agent.gatekeeper._signer
    key = FarKey(own)
    rig.agent.gatekeeper._signer = Signer(own.kid.decode(), key)
    return key


async def test_while_a_token_signs_an_outcome_the_agent_goes_on() -> None:
    async with lamp_rig() as rig:
        key, other = put_apart(rig), LocalClient(rig.state / "agent.sock")
        answered = asyncio.create_task(rig.set_level(rig.people.alice, 50))
        await wait_until(key.asked.is_set)
        assert isinstance(await other.ask(GetStatus()), Status)
        await rig.poll()
        assert not answered.done()
        key.free.set()
        assert (await answered).ended == "done"  # And its signature holds.
        await other.close()


async def test_with_its_token_out_the_agent_obeys_unsigned_and_its_records_wait_until_it_is_back() -> None:
    async with lamp_rig() as rig:
        key = put_apart(rig)
        key.free.set()
        own, key.is_out = rig.journal._ledger._signer, True
        rig.journal._ledger._signer = rig.agent.gatekeeper._signer
        reply = await rig.submit(rig.sealed(rig.people.alice, SEGMENT, "set-level", args=LEVEL))
        assert isinstance(reply, OutcomeIs)
        assert (reply.outcome.ended, reply.sealed, rig.level()) == ("done", b"", 50)
        assert rig.agent.gatekeeper.rejected == {"unrecorded": 1, "unsigned": 1}
        assert rig.journal.counters == {"alice/1": 1}  # The disk is fine, so the command cannot come again.
        (warning,) = (await rig.status()).warnings
        assert warning.startswith("records are not signed: token 'armoire': TokenNotPresent")
        assert "they wait in memory" in warning
        key.is_out = False
        rig.agent.recorder._events["audit"].take([])
        (entry,) = await rig.log("command.done")
        assert entry.detail["issuer"] == "alice/1"
        assert (await rig.status()).warnings == []
        rig.journal._ledger._signer = own


@pytest.mark.slow
async def test_an_agent_signs_with_a_key_that_stays_in_a_token_and_does_not_start_without_it(
    require_program: Callable[[str], Path],
) -> None:
    token = soft_token(require_program("softhsm2-util"))
    async with living_agent(is_started=False) as agent:
        people, keys = agent.people, agent.site.parent / "state/keys"
        kid = f"{people.gateway}/agent/2"
        signer = Signer(kid, make_key(token, f"agent-{os.getpid()}"))
        (keys / "agent.pem").unlink()
        signer.write(keys / "agent.pem")
        entry = KeyEntry(kid, ESP256, signer.public_key, people.gateway, "agent", ("up",), (people.gateway,), 0, 2**62)
        officers = Officers(agent.site.parent / "trust")
        sealed = officers.sign(more=[entry])
        (keys / "keys.sealed").write_bytes(sealed)
        await agent.start()
        nonce = (await agent.status()).nonce
        message = people.message(people.technician, SEGMENT, "set-level", nonce, dict(LEVEL))
        reply = await agent.client.ask(Submit(people.seal(message, people.technician)))
        assert isinstance(reply, OutcomeIs)
        assert reply.outcome.ended == "done"
        topic = up(people.city, people.gateway, "result")
        assert open_result(officers.ring(sealed), reply.sealed, topic, people.clock_ms()) == (reply.outcome, "agent")
        assert (parse(reply.sealed).algorithm, parse(reply.sealed).kid) == (ESP256, kid.encode())
        assert [entry.detail["issuer"] for entry in await agent.log("command.done")] == [people.technician.kid.decode()]
        assert (await agent.end(signal.SIGTERM))[0] == 0
        text = (keys / "agent.pem").read_text()
        (keys / "agent.pem").write_text(text.replace("token=armoire", "token=gone"))
        agent.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "agent.runtime", str(agent.site)), stderr=asyncio.subprocess.PIPE
        )
        code, errors = await agent.end(signal.SIGCONT)  # It ends by itself.
        assert (code, "token 'gone' by" in errors, "Traceback" in errors) == (2, True, False)
