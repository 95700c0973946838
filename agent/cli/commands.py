"""Every command in one table: its words, where it lives, what it does, how it is typed.

Functions are named, not imported: a command is loaded when it is typed, so that listing them all answers at once.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One command.

    Args:
        words: one, or a group and its command.
        function: ``module:name``.
        help: what it does, one line.
        example: one line that works at the demonstration district.
    """

    words: tuple[str, ...]
    function: str
    help: str
    example: str


GROUPS = {
    "lamp": "Hold lighting segments at a level, or let them go.",
    "bollard": "Lower or raise bollards.",
    "junction": "Select a plan, ask for yellow flash, or let a junction go.",
    "commission": "Prove the facts of a site file offline, and sign them.",
    "journal": "Write out the agent's sealed records, and check such files offline.",
    "guard": "Run the guard alone, or read and check its black box.",
}


def example(*lines: str) -> str:
    """How examples stand below a help text."""
    return "\n".join(("Example:", *(f"  {line}" for line in lines)))


def _entry(words: str, function: str, text: str, shown: str) -> Entry:
    return Entry(tuple(words.split()), f"agent.cli.{function}", text, shown)


COMMANDS = (
    _entry(
        "status",
        "reading:status",
        "How agent and guard are, and how far the fleet has their records.",
        "armoire status --json",
    ),
    _entry(
        "equipment",
        "reading:equipment",
        "List the equipment with what is seen now.",
        "armoire equipment",
    ),
    _entry(
        "show",
        "reading:show",
        "One piece of equipment with every point.",
        "armoire show bollard-rameau",
    ),
    _entry(
        "why",
        "reading:why",
        "Why it is as it is: rule, command, issuer, input and time.",
        "armoire why bollard-rameau",
    ),
    _entry(
        "log",
        "reading:log",
        "The newest events of the sealed records.",
        "armoire log --equipment bollard-rameau -n 50",
    ),
    _entry(
        "lamp set",
        "writing:set_level",
        "Hold a segment at a level until the lease ends.",
        "armoire lamp set seg-darcy-1 60 --for 30m",
    ),
    _entry(
        "lamp release",
        "writing:release_level",
        "Give a segment back to its local plan.",
        "armoire lamp release seg-darcy-1",
    ),
    _entry(
        "bollard lower",
        "writing:lower",
        "Lower a bollard.",
        "armoire bollard lower bollard-rameau",
    ),
    _entry(
        "bollard raise",
        "writing:raise_",
        "Raise a bollard; refused unless both loops are seen free.",
        "armoire bollard raise bollard-rameau --dry-run",
    ),
    _entry(
        "junction plan",
        "writing:plan",
        "Run a commissioned signal plan until the lease ends.",
        "armoire junction plan j-republique 2 --for 30m",
    ),
    _entry(
        "junction flash",
        "writing:flash",
        "Ask for yellow flash; needs you at the open cabinet, local key turned.",
        "armoire junction flash j-republique --for 10m",
    ),
    _entry(
        "junction release",
        "writing:release",
        "Give a junction back to its controller's own plan.",
        "armoire junction release j-republique",
    ),
    _entry(
        "reset",
        "writing:reset",
        "Clear a latched fault; only at the open cabinet, local key turned.",
        "armoire reset j-republique",
    ),
    _entry(
        "submit",
        "writing:submit_any",
        "Sign and send any verb as typed, and see what the cabinet says.",
        "armoire submit j-republique set_green group=2",
    ),
    _entry(
        "check",
        "reading:check",
        "Check a site file and print every problem in it.",
        "armoire check configs/sites/gw-darcy.toml",
    ),
    _entry(
        "commission check",
        "commission:check",
        "Prove what a site file says of junctions, bollards and lighting, or show what breaks it.",
        "armoire commission check configs/sites/gw-republique.toml",
    ),
    _entry(
        "commission sign",
        "commission:sign",
        "Check a site file and sign its facts, without which the guard only observes.",
        "armoire commission sign site.toml --key commissioner.pem",
    ),
    _entry(
        "enrol",
        "enrol:enrol",
        "Make this gateway's keys and have the fleet certify them.",
        "armoire enrol configs/sites/gw-darcy.toml --fleet https://fleet.example --code abcde-fghij-klmno-pqrst-uvwxy-z",
    ),
    _entry(
        "renew",
        "enrol:renew",
        "Renew the gateway's certificate if it is time.",
        "armoire renew configs/sites/gw-darcy.toml",
    ),
    _entry(
        "run",
        "processes:run",
        "Run guard and agent of one site until Ctrl-C.",
        "armoire run configs/sites/gw-darcy.toml",
    ),
    _entry(
        "guard",
        "processes:guard",
        "Run the guard alone, as its systemd unit does.",
        "armoire guard configs/sites/gw-liberation.toml",
    ),
    _entry(
        "guard log",
        "guard_log:log",
        "The guard's sealed records: trips, latches, commands and who gave them.",
        "armoire guard log --equipment j-republique --since 2h",
    ),
    _entry(
        "guard export",
        "guard_export:export",
        "Write the guard's sealed records to a file anybody can check.",
        "armoire guard export blackbox.bin --dry-run",
    ),
    _entry(
        "guard verify",
        "journal_verify:verify",
        "Check such a file offline; the first bad record is named.",
        "armoire guard verify blackbox.bin --keys build/run/trust",
    ),
    _entry(
        "journal export",
        "journal_export:export_journal",
        "Write the agent's sealed records to a file anybody can check; also from a disk image.",
        "armoire journal export journal.bin --stream alarm --since 2h",
    ),
    _entry(
        "journal verify",
        "journal_verify:verify",
        "Check such a file offline; the first bad record is named.",
        "armoire journal verify journal.bin --keys trust/keys.sealed --root trust/roots.toml",
    ),
    _entry(
        "agent",
        "processes:agent",
        "Run the agent alone, as its systemd unit does.",
        "armoire agent configs/sites/gw-darcy.toml",
    ),
)
