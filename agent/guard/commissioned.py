"""Whether somebody signed the facts this guard goes by (SR-30): read at the start, judged by each key list taken since."""

from pathlib import Path

from agent.guard.records import Records
from agent.model.observation import Scalar
from agent.model.site import Cabinet
from agent.wire.commissioning import Commissioned, CommissioningError, open_again, open_facts
from agent.wire.trust import KeyRing

UNSIGNED = "commission.missing"
SIGNED = "commission.signed"


class Commissioning:
    """What the signature beside the site file is worth.

    Args:
        why_not: why the facts are not signed ones, for a sentence; empty if they are.
    """

    def __init__(self, cabinet: Cabinet, home: Path, ring: KeyRing) -> None:
        self._cabinet = cabinet
        self.signed: Commissioned | None = None
        self.why_not = ""
        try:
            self.signed = open_facts(ring, cabinet, home)
        except CommissioningError as error:
            self.why_not = str(error)

    def judge(self, ring: KeyRing) -> bool:
        """Judge the signature by a newer key list; true if it has lost its worth. Only the next start gives it back."""
        if self.signed is None:
            return False
        try:
            open_again(ring, self._cabinet, self.signed.sealed)
        except CommissioningError as error:
            self.signed, self.why_not = None, str(error)
        return self.signed is None

    def tell(self, records: Records) -> None:
        """Seal what was found: an alarm, or whose word it is."""
        if self.signed is None:
            text = f"site not commissioned: {self.why_not}; observing only, every control is refused"
            records.note(UNSIGNED, "", "SR-30", text)
            return
        signed = self.signed.signed
        detail: dict[str, Scalar] = {
            "signed_ms": signed.signed_ms,
            "facts": signed.facts.hex(),
            "report": signed.report.hex(),
        }
        text = f"facts signed by {self.signed.subject} with {signed.tool}: {signed.proved}"
        records.note(SIGNED, "", "", text, detail)
