"""An agent whose key is in a token that is slow, or was taken out: it says so, and its lamps go on."""

import asyncio
import threading

from agent.process.client import LocalClient
from agent.wire.keyfile import Signer
from agent.wire.local import GetStatus, OutcomeIs, Status
from agent.wire.token import TokenError
from tests.runtime.rig import SEGMENT, LampRig, lamp_rig
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
