"""What the HTTP API says and takes, as typed structs. Times are Unix ms by the manager's clock unless said otherwise."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from agent.wire.messages import Value

Operator = Annotated[str, Meta(min_length=1, max_length=80, description="Who acts", examples=["alice"])]
WaitS = Annotated[float, Meta(ge=0, le=60, description="How long to wait for the cabinet's outcome, seconds")]
WAIT_S = 5.0


class PointAnswer(Struct, frozen=True):
    """One point: never without quality and age.

    Args:
        quality: 0 good, 1 uncertain, 2 stale, 3 bad. At least stale while its gateway is lost or cannot vouch for it.
        t_ms: when it was read, by the gateway's clock. age_ms: since then, by ours.
    """

    value: Value
    quality: Annotated[int, Meta(ge=0, le=3)]
    t_ms: int
    age_ms: Annotated[int, Meta(ge=0)]


class LatchAnswer(Struct, frozen=True):
    """A latched safety fault: reset only on site."""

    rule: str
    reason: str
    since_ms: int


class EquipmentAnswer(Struct, frozen=True):
    """One piece of equipment.

    Args:
        executor: which process of the cabinet judges commands to it: ``guard``, ``agent`` or empty.
        mode: ``supervised``, ``autonomous``, ``local`` or ``held``, as last heard; empty if never.
        link: its gateway's: ``up``, ``lost`` or ``never``.
    """

    id: str
    gateway: str
    kind: str
    name: str
    latitude: float
    longitude: float
    parent: str
    executor: str
    verbs: list[str]
    mode: str
    latch: LatchAnswer | None
    link: str
    points: dict[str, PointAnswer]


class GatewayAnswer(Struct, frozen=True):
    """One gateway.

    Args:
        link: ``up`` (heard within 30 s), ``lost``, or ``never``.
        rejected: messages in its name that were not believed or not understood.
        backlog: sealed batches it announced and we do not hold yet.
        behind: streams of which more is missing than can be on its way, with a sentence; their points are stale.
        clock: how it knew the time in its last birth or heartbeat: ``unknown``, ``own clock``, ``network``, ``attested``
            (the network's, and the fleet's signed time agrees); empty if it was never heard.
        unsealed: records waiting in its memory because its disk does not take them; for longer than a heartbeat,
            everything of it is stale.
        held: streams that stopped at a fork or a message we cannot read, with the reason.
        key_list: version of the key list it goes by; 0 if it does not say.
    """

    id: str
    name: str
    link: str
    last_seen_ms: int
    software: str
    mode: str
    rejected: int
    backlog: int
    equipment: int
    held: dict[str, str]
    behind: dict[str, str]
    unsealed: int
    clock: str = ""
    key_list: int = 0


class DistrictAnswer(Struct, frozen=True):
    """Everything at one moment.

    Args:
        standby: empty if this manager leads, else a sentence that says who does.
    """

    city: str
    fleet: str
    term: int
    standby: str
    t_ms: int
    broker: str
    gateways: list[GatewayAnswer]
    equipment: list[EquipmentAnswer]


class PointsMessage(Struct, frozen=True):
    """Server-sent event ``points``: what changed on one piece of equipment."""

    gateway: str
    equipment: str
    mode: str
    latch: LatchAnswer | None
    points: dict[str, PointAnswer]


class SampleAnswer(Struct, frozen=True):
    """One value of a point's history; ``t_ms`` by the gateway's clock.

    Args:
        time: ``clock`` if the network kept that clock; ``own clock`` if it did not; ``unknown`` if there was none, and
            ``t_ms`` counts from its start; ``re-dated`` once the gateway has signed which time that was.
        within_ms: so exactly it was re-dated; -1 if nobody can say, 0 if it was not.
    """

    t_ms: int
    value: Value
    quality: int
    time: str = "clock"
    within_ms: int = 0


class EventAnswer(Struct, frozen=True):
    """Something that happened: in a cabinet (``stream`` and ``seq`` say where it is sealed), or at the manager itself.

    Args:
        t_ms: by the clock of where it happened. stored_ms: by ours.
        time, within_ms: how its time is known, as in ``SampleAnswer``.
    """

    id: int
    t_ms: int
    stored_ms: int
    gateway: str
    equipment: str
    stream: str
    seq: int
    kind: str
    rule: str
    text: str
    detail: dict[str, Value]
    time: str = "clock"
    within_ms: int = 0


class Expectation(Struct, frozen=True, forbid_unknown_fields=True):
    """A value that must still be so when the cabinet judges the command; otherwise it refuses, by SR-25.

    Args:
        point: ``equipment/point``; a bare name is a point of the command's own equipment.
    """

    point: Annotated[str, Meta(min_length=1, max_length=120, examples=["state"])]
    value: Value


class CommandAnswer(Struct, frozen=True):
    """One command and how it stands.

    Args:
        status: ``awaiting-approval``, ``sent``, ``done``, ``refused``, ``expired``, ``failed``, ``unknown``; ``dry-run``.
        rule: the rule that refused it, empty otherwise. reason: why, in a sentence.
        state: what is known about the equipment now.
    """

    command_id: str
    status: str
    rule: str
    reason: str
    state: str
    gateway: str
    equipment: str
    verb: str
    args: dict[str, Value]
    operator: str
    approvers: list[str]
    issued_ms: int
    not_after_ms: int
    ended_ms: int
    expect: Expectation | None = None


class CommandRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Ask a cabinet for something. Any verb is passed on: the cabinet judges, and the answer shows its rule."""

    gateway: Annotated[str, Meta(min_length=1, max_length=40, examples=["gw-darcy"])]
    equipment: Annotated[str, Meta(min_length=1, max_length=40, examples=["darcy-segment-1"])]
    verb: Annotated[str, Meta(min_length=1, max_length=40, examples=["set-level"])]
    operator: Operator
    args: Annotated[
        dict[Annotated[str, Meta(min_length=1, max_length=40)], Value],
        Meta(max_length=16, examples=[{"level_percent": 60, "lease_s": 1800}]),
    ] = field(default_factory=dict)
    expect: Expectation | None = None
    dry_run: Annotated[bool, Meta(description="Send nothing; show what would be signed")] = False
    wait_s: WaitS = WAIT_S


class ApprovalRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Approve a waiting command as a second person."""

    operator: Operator
    dry_run: Annotated[bool, Meta(description="Send nothing; show what would be signed")] = False
    wait_s: WaitS = WAIT_S


class HealthAnswer(Struct, frozen=True):
    """How the manager is.

    Args:
        status: ``ok``, or ``degraded`` with the reason in ``detail``.
        role: ``leading`` or ``standby``, since when. leader: who leads, empty if nobody known does.
        arrangement: ``alone``, ``shared-store`` or ``own-stores``.
        behind: batches that gateways have sealed and told of, and that we do not know to be stored.
    """

    status: str
    detail: str
    broker: str
    term: int
    store: str
    gateways_up: int
    gateways_lost: int
    fleet: str = ""
    role: str = ""
    since_ms: int = 0
    leader: str = ""
    leader_url: str = ""
    leader_term: int = 0
    arrangement: str = ""
    behind: int = 0


class LeadRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Take the lead, or give it up.

    Args:
        reason: kept in the log of events, for ever.
    """

    action: Literal["take", "yield"]
    operator: Operator
    reason: Annotated[str, Meta(min_length=3, max_length=200, examples=["maintenance of the control room"])]
    dry_run: Annotated[bool, Meta(description="Change nothing; say what would happen")] = False


class LeadAnswer(Struct, frozen=True):
    """What came of it.

    Args:
        text: a sentence. role, term: this manager's, afterwards.
    """

    text: str
    role: str
    term: int


class LinksAnswer(Struct, frozen=True):
    """What a standby has missed.

    Args:
        fleet: the manager that answers. links: envelopes, oldest first.
    """

    fleet: str
    links: list[bytes]


class ErrorAnswer(Struct, frozen=True):
    """What happened and what to do."""

    detail: str
