"""Leases: every remote hold ends. Pure. Source: docs/safety.md SR-10, SR-11, LR-02."""

from dataclasses import dataclass

from agent.model.command import RequestFlash, Role, SelectPlan, SetLevel
from agent.model.site import Site
from agent.safety.verdict import Approved

Leased = SelectPlan | RequestFlash | SetLevel


@dataclass(frozen=True, slots=True)
class Lease:
    """A hold in force.

    Args:
        ends_at_ms: monotonic; ``granted`` computes it.
    """

    approved: Approved[Leased]
    ends_at_ms: int


def granted(approved: Approved[Leased]) -> Lease:
    """The lease of an approved command, counted from its approval."""
    return Lease(approved, approved.at_ms + approved.command.lease_ms)


def fleet_is_silent(now_ms: int, fleet_seen_at_ms: int | None, site: Site) -> bool:
    """Whether the fleet has been away for as long as the site allows; true if it was never seen."""
    return fleet_seen_at_ms is None or now_ms - fleet_seen_at_ms >= site.fleet_silence_ms


def due(lease: Lease, now_ms: int, fleet_silent: bool) -> str | None:
    """Why a lease must end now, or None. Operators' leases also end when the fleet falls silent (SR-11)."""
    if now_ms >= lease.ends_at_ms:
        return "the lease has ended"
    if fleet_silent and lease.approved.command.origin.role is Role.OPERATOR:
        return "SR-11: the fleet is silent"
    return None
