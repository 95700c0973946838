"""The tables. Everything else about a gateway can be rebuilt from ``links``, the envelopes exactly as they were signed.

Gateways and points have short numbers because a history row is written for every change. History is clustered by
gateway and link, not by point: one batch then touches one or two pages instead of as many as it has points, and a
chart reads one cabinet's recent rows.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
)

VERSION = 1

metadata = MetaData()
# SQLite gives a rowid alias, and so the cheapest key, only to a column declared INTEGER.
_NUMBER = BigInteger().with_variant(Integer(), "sqlite")
_ID = String(40)

settings = Table(
    "settings",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

gateways = Table(
    "gateways",
    metadata,
    Column("no", _NUMBER, primary_key=True, autoincrement=False),
    Column("id", _ID, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("software", Text, nullable=False),
    Column("conn", BigInteger, nullable=False),
    Column("beat", BigInteger, nullable=False),
    Column("is_connected", Boolean, nullable=False),
    Column("seen_ms", BigInteger, nullable=False),
    Column("told_ms", BigInteger, nullable=False),
)

equipment = Table(
    "equipment",
    metadata,
    Column("gateway", _ID, primary_key=True),
    Column("id", _ID, primary_key=True),
    Column("place", Integer, nullable=False),
    Column("kind", _ID, nullable=False),
    Column("name", Text, nullable=False),
    Column("latitude", Float, nullable=False),
    Column("longitude", Float, nullable=False),
    Column("executor", String(10), nullable=False),
    Column("verbs", Text, nullable=False),
    Column("parent", _ID, nullable=False),
)

latches = Table(
    "latches",
    metadata,
    Column("gateway", _ID, primary_key=True),
    Column("equipment", _ID, primary_key=True),
    Column("rule", String(10), nullable=False),
    Column("reason", Text, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
)

links = Table(
    "links",
    metadata,
    Column("no", _NUMBER, primary_key=True, autoincrement=False),
    Column("gateway_no", Integer, nullable=False),
    Column("stream", _ID, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
    Column("stored_ms", BigInteger, nullable=False),
    Column("envelope", LargeBinary, nullable=False),
    UniqueConstraint("gateway_no", "stream", "epoch", "seq"),
    Index("links_stored", "stored_ms"),
)

heads = Table(
    "heads",
    metadata,
    Column("gateway_no", Integer, primary_key=True, autoincrement=False),
    Column("stream", _ID, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
)

points = Table(
    "points",
    metadata,
    Column("no", _NUMBER, primary_key=True, autoincrement=False),
    Column("gateway_no", Integer, nullable=False),
    Column("equipment", String(120), nullable=False),
    Column("name", String(120), nullable=False),
    UniqueConstraint("gateway_no", "equipment", "name"),
)

samples = Table(
    "samples",
    metadata,
    Column("gateway_no", Integer, primary_key=True, autoincrement=False),
    Column("link_no", BigInteger, primary_key=True, autoincrement=False),
    Column("n", SmallInteger, primary_key=True, autoincrement=False),
    Column("point_no", Integer, nullable=False),
    Column("t_ms", BigInteger, nullable=False),
    Column("quality", SmallInteger, nullable=False),
    Column("value", Text, nullable=False),
    sqlite_with_rowid=False,
)

latest = Table(
    "latest",
    metadata,
    Column("point_no", Integer, primary_key=True, autoincrement=False),
    Column("t_ms", BigInteger, nullable=False),
    Column("quality", SmallInteger, nullable=False),
    Column("value", Text, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("no", _NUMBER, primary_key=True, autoincrement=False),
    Column("gateway", _ID, nullable=False),
    Column("equipment", _ID, nullable=False),
    Column("stream", _ID, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("t_ms", BigInteger, nullable=False),
    Column("stored_ms", BigInteger, nullable=False),
    Column("kind", String(120), nullable=False),
    Column("rule", String(10), nullable=False),
    Column("text", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index("events_place", "gateway", "equipment", "no"),
)

commands = Table(
    "commands",
    metadata,
    Column("command_id", _ID, primary_key=True),
    Column("no", BigInteger, nullable=False, unique=True),
    Column("gateway", _ID, nullable=False),
    Column("equipment", _ID, nullable=False),
    Column("verb", _ID, nullable=False),
    Column("args", Text, nullable=False),
    Column("operator", String(80), nullable=False),
    Column("approvers", Text, nullable=False),
    Column("status", String(20), nullable=False),
    Column("rule", String(10), nullable=False),
    Column("reason", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("issued_ms", BigInteger, nullable=False),
    Column("not_after_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)

command_expectations = Table(
    "command_expectations",
    metadata,
    Column("command_id", _ID, primary_key=True),
    Column("point", String(120), nullable=False),
    Column("value", Text, nullable=False),
)

desired = Table(
    "desired",
    metadata,
    Column("gateway", _ID, primary_key=True),
    Column("generation", BigInteger, primary_key=True, autoincrement=False),
    Column("operator", String(80), nullable=False),
    Column("t_ms", BigInteger, nullable=False),
    Column("settings", Text, nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)

results = Table(
    "results",
    metadata,
    Column("gateway", _ID, primary_key=True),
    Column("command_id", _ID, primary_key=True),
    Column("kid", String(64), primary_key=True),
    Column("ended", _ID, nullable=False),
    Column("stored_ms", BigInteger, nullable=False),
    Column("envelope", LargeBinary, nullable=False),
)

issuers = Table(
    "issuers",
    metadata,
    Column("kid", String(64), primary_key=True),
    Column("counter", BigInteger, nullable=False),
)

rejections = Table(
    "rejections",
    metadata,
    Column("gateway", _ID, primary_key=True),
    Column("reason", String(40), primary_key=True),
    Column("times", BigInteger, nullable=False),
    Column("newest_ms", BigInteger, nullable=False),
    Column("newest", Text, nullable=False),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("gateway", _ID, primary_key=True),
    Column("digest", LargeBinary(32), primary_key=True),
    Column("message_class", _ID, nullable=False),
    Column("stored_ms", BigInteger, nullable=False),
    Column("why", Text, nullable=False),
    Column("envelope", LargeBinary, nullable=False),
)

log_entries = Table(
    "log_entries",
    metadata,
    Column("no", _NUMBER, primary_key=True, autoincrement=False),
    Column("link_no", BigInteger, nullable=False),
    Column("subject", String(80), nullable=True),
    Column("entry", LargeBinary, nullable=False),
)
Index(
    "log_entries_subject",
    log_entries.c.subject,
    sqlite_where=log_entries.c.subject.is_not(None),
    postgresql_where=log_entries.c.subject.is_not(None),
)

log_tiles = Table(
    "log_tiles",
    metadata,
    Column("level", SmallInteger, primary_key=True, autoincrement=False),
    Column("place", BigInteger, primary_key=True, autoincrement=False),
    Column("root", LargeBinary(32), nullable=False),
    Column("hashes", LargeBinary, nullable=False),
)

log_checkpoints = Table(
    "log_checkpoints",
    metadata,
    Column("size", _NUMBER, primary_key=True, autoincrement=False),
    Column("made_ms", BigInteger, nullable=False),
    Column("note", Text, nullable=False),
)

undated = Table(
    "undated",
    metadata,
    Column("link_no", _NUMBER, primary_key=True, autoincrement=False),
    Column("gateway_no", Integer, nullable=False),
    Column("who", String(10), nullable=False),
    Column("boot", LargeBinary(16), nullable=False),
    Column("clock", SmallInteger, nullable=False),
    Column("t0_ms", BigInteger, nullable=False),
    Column("mono_ms", BigInteger, nullable=False),
    Column("first_event", BigInteger, nullable=False),
    Column("last_event", BigInteger, nullable=False),
    Column("dated_by", SmallInteger, nullable=False),
    Column("shift_ms", BigInteger, nullable=False),
    Column("within_ms", BigInteger, nullable=False),
    Index("undated_boot", "gateway_no", "who", "boot", "clock", "dated_by"),
    Index("undated_events", "last_event"),
)

clock_marks = Table(
    "clock_marks",
    metadata,
    Column("gateway_no", Integer, primary_key=True, autoincrement=False),
    Column("who", String(10), primary_key=True),
    Column("boot", LargeBinary(16), primary_key=True),
    Column("mono_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("unix_ms", BigInteger, nullable=False),
    Column("within_ms", BigInteger, nullable=False),
    Column("clock", SmallInteger, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("name", _ID, primary_key=True),
    Column("holder", _ID, nullable=False),
    Column("life", _ID, nullable=False),
    Column("term", BigInteger, nullable=False),
    Column("beat", BigInteger, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
    Column("url", Text, nullable=False),
    Column("wanted", _ID, nullable=False),
    Column("log", _ID, nullable=False),
)
