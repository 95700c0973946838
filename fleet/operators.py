"""The operators whose keys are held here, and whether anybody would believe them now.

The officers may take a key out of the list while the manager runs. What it still signed with that key no cabinet
would answer, for nobody it knows has spoken: the person at the console would learn nothing but *unknown*.
"""

from collections.abc import Callable, Mapping

from agent.wire.trust import COMMAND_CAPABILITIES, KeyRing
from fleet.errors import AskError
from fleet.folder import Operator


class Operators:
    """Whoever may act here.

    Args:
        held: by the name of the key's file. ring: the key list in force.
    """

    def __init__(self, held: Mapping[str, Operator], ring: Callable[[], KeyRing], unix_ms: Callable[[], int]) -> None:
        self._held = held
        self._ring = ring
        self._unix_ms = unix_ms

    def names(self) -> list[str]:
        """Those who would be believed, in order."""
        return sorted(name for name, operator in self._held.items() if not self._doubt(operator))

    def named(self, name: str) -> Operator:
        """Who acts under this name.

        Raises:
            AskError: nobody of that name is held here, or nobody would believe them. Nothing was done.
        """
        operator = self._held.get(name)
        if operator is None:
            there = ", ".join(self.names()) or "none"
            raise AskError(403, f"no key of an operator {name[:60]!r} is held here; there are {there}")
        self.check(operator)
        return operator

    def check(self, operator: Operator) -> None:
        """Refuse somebody whom the key list in force does not believe.

        Raises:
            AskError: why not.
        """
        if doubt := self._doubt(operator):
            raise AskError(403, f"{operator.name} may not act: {doubt}. Nothing was done; the officers sign key lists")

    def check_list(self) -> None:
        """Refuse what only commands need: a key list that is over stops them in every cabinet.

        Raises:
            AskError: it is over.
        """
        ring = self._ring()
        if ring.is_expired(self._unix_ms()):
            raise AskError(403, f"key list {ring.version} is over: no cabinet takes a command until officers sign anew")

    def of_subject(self, subject: str) -> Operator | None:
        """A key of this person that would be believed, else any of theirs, None if there is none."""
        keys = [each for each in self._held.values() if each.name == subject]
        return next((each for each in keys if not self._doubt(each)), keys[0] if keys else None)

    def _doubt(self, operator: Operator) -> str:
        """Why a cabinet would not take this signer's word; empty if it would."""
        ring, signer, now_ms = self._ring(), operator.signer, self._unix_ms()
        entry, kid = ring.entry(signer.kid), signer.kid.decode()
        if entry is None:
            return f"the key {kid} is not in key list {ring.version}"
        if (entry.algorithm, entry.public_key) != (signer.algorithm, signer.public_key):
            return f"key list {ring.version} has another key under the name {kid}"
        if not entry.not_before_ms <= now_ms <= entry.not_after_ms:
            return f"the key {kid} is outside the time for which key list {ring.version} believes it"
        if not set(entry.capabilities) & set(COMMAND_CAPABILITIES):
            return f"key list {ring.version} lets the key {kid} sign no commands"
        return ""
