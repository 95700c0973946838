"""What the HTTP API says and takes about desired states. Times are Unix ms by the manager's clock."""

from typing import Annotated

from msgspec import Meta, Struct

from agent.wire.messages import DESIRED_SETTINGS_MAX, Value
from fleet.answers import Operator

Name = Annotated[str, Meta(min_length=1, max_length=40)]


class DesiredRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Change some settings of one gateway; the others stay. Null takes one out, and what was commissioned counts again."""

    operator: Operator
    settings: Annotated[
        dict[Name, dict[Name, Value]],
        Meta(min_length=1, max_length=DESIRED_SETTINGS_MAX, examples=[{"seg-darcy-1": {"night_level_percent": 60}}]),
    ]
    dry_run: Annotated[bool, Meta(description="Change nothing; show the document that would be signed")] = False


class SettingAnswer(Struct, frozen=True):
    """One line of a document.

    Args:
        status: ``applied``, ``waiting`` or ``refused`` by ``rule``, as the gateway reports of this very document;
            ``not-reported`` while it keeps to another one.
    """

    equipment: str
    setting: str
    value: Value
    status: str
    rule: str
    reason: str


class DesiredAnswer(Struct, frozen=True):
    """What is desired of one gateway beside what it reports.

    Args:
        generation: of the newest document; 0 if none was ever set. age_ms: since it was.
        is_reached: the gateway keeps to this very document.
        reported_generation: what it says it keeps to. reported_age_ms: since it said so; null if not since our start.
        text: the same in a sentence.
    """

    gateway: str
    generation: int
    operator: str
    t_ms: int
    age_ms: int
    is_reached: bool
    reported_generation: int
    reported_age_ms: int | None
    link: str
    settings: list[SettingAnswer]
    is_dry_run: bool
    text: str


class VersionAnswer(Struct, frozen=True):
    """One generation as it was set."""

    generation: int
    operator: str
    t_ms: int
    settings: dict[str, dict[str, Value]]
    digest: str
