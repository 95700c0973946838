"""Everybody who may try: the city's people, the cabinet's own keys in wrong hands, keys that are no longer good."""

from pathlib import Path

from agent.wire.demotrust import KEYS_FILE, sign_key_list
from agent.wire.envelope import parse, split_set
from agent.wire.keyfile import Signer, read_signer
from agent.wire.messages import decode
from agent.wire.trust import COMMAND_CAPABILITIES, KeyEntry, KeyList
from tests.guard.people import People

DAY_MS = 24 * 3600 * 1000


class Cast:
    """People of one cabinet, after its key list was renewed: one key has expired, one is no longer in it."""

    def __init__(self, home: Path, people: People) -> None:
        self.people = people
        keys = home / "state" / "keys"
        self.agent_key, self.guard_key = (read_signer(keys / f"{name}.pem") for name in ("agent", "guard"))
        self.expired = Signer.from_seed("gw-republique/tech/0", b"expired!" * 4)
        self.revoked = Signer.from_seed("gw-republique/tech/lost", b"revoked!" * 4)
        sealed = (keys / KEYS_FILE).read_bytes()
        old = decode(parse(split_set(sealed)[0]).payload, KeyList)
        worn = KeyEntry(
            self.expired.kid.decode(),
            self.expired.algorithm,
            self.expired.public_key,
            "gw-republique/tech",
            "technician",
            COMMAND_CAPABILITIES,
            (people.gateway,),
            people.unix_ms - 30 * DAY_MS,
            people.unix_ms - DAY_MS,
        )
        renewed = KeyList(old.schema, old.city, old.version + 1, old.issued_ms, old.expires_ms, [*old.keys, worn])
        self.officers = [read_signer(home / "trust" / "offline" / f"root-{number}.pem") for number in (1, 2)]
        (keys / KEYS_FILE).write_bytes(sign_key_list(renewed, self.officers))
        self.old_list, self.key_list = sealed, renewed
