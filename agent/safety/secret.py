"""Secrets everybody knows. Pure. Source: docs/safety.md SR-17; "Green Lights Forever" found cabinets open by them."""

from collections.abc import Mapping

from agent.safety.case import AnyCase
from agent.safety.verdict import Refused

DEFAULT_SECRETS = frozenset(
    {
        *(
            "public",
            "private",
            "community",
            "administrator",
            "admin",
            "snmp",
            "netman",
            "default",
            "password",
            "secret",
        ),
        *("read", "write", "readonly", "readwrite", "rw", "ro", "test", "guest", "root", "ntcip", "manager", "cisco"),
        *("0000", "1111", "1234", "12345", "123456", "2222", "9999"),
    }
)
"""SNMP: NTCIP 1201's own default is "administrator", field practice "public" [V]; codes as in the RSMP examples [V];
the rest are makers' and users' habits, ours."""


def defaults_among(secrets: Mapping[str, str]) -> str:
    """Name those secrets that are no secret, for a sentence; empty if all are somebody's own."""
    return " and ".join(name for name, secret in secrets.items() if secret.strip().casefold() in DEFAULT_SECRETS)


def secrets_are_own(case: AnyCase) -> Refused | None:
    """SR-17: whoever can control the equipment as we do makes our rules worthless; we do not add to it."""
    if known := case.standing.default_secret:
        return Refused("SR-17", f"its {known} is a default everybody knows; set an own one in controller and site file")
    return None
