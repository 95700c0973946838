"""Options every command shares, and where their defaults come from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from agent.cli.gateway import STATE_DEFAULT, Gateway

Json = Annotated[bool, Parameter(name="--json", negative="")]
Lease = Annotated[str, Parameter(name="--for")]


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Of every command that asks a gateway."""

    state: Annotated[Path, Parameter(env_var="ARMOIRE_STATE")] = STATE_DEFAULT
    """Folder with the gateway's sockets, agent.sock and guard.sock."""
    json: Json = False
    """Print one JSON document and nothing else on standard output."""

    def gateway(self) -> Gateway:
        """The cabinet behind the state folder."""
        return Gateway(self.state)


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Ordering(Asking):
    """Of every command that changes something."""

    dry_run: Annotated[bool, Parameter(negative="")] = False
    """Have the command judged and do nothing; needs no key."""
    expect: Annotated[str, Parameter(show_default=False)] = ""
    """point=value: do it only if that is still so in the cabinet; state=raised, or another equipment's as id/point=value."""
    key: Annotated[Path | None, Parameter(env_var="ARMOIRE_KEY", show_default=False)] = None
    """Your private key; keys/technician.pem in the state folder if not given."""

    def key_path(self) -> Path:
        """Where the technician's key is."""
        return self.key or self.state / "keys" / "technician.pem"
