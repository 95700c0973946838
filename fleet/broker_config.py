"""The configuration of a production broker: mosquitto 2.x as it must be for this city, every line with its reason. Pure.

The broker is a courier: it checks who hangs on to it and keeps their topics apart; it is trusted with nothing else, and
keeps nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from agent.model.identity import is_id
from agent.wire.envelope import ENVELOPE_BYTES_MAX, PACKET_BYTES_MAX
from agent.wire.topics import DOWN, ROOT, UP
from fleet.errors import FolderError
from fleet.pki import MANAGER_PREFIX

CONNECTIONS_MAX = 5_000
CHECK_GATEWAYS = ("check-a", "check-b")
"""Reserved: ``broker check`` is these, and no cabinet is."""
CHECK_OBSERVER = "check"
CONFIG_FILE, ACL_FILE = "mosquitto.conf", "acl"

LIMITS = f"""
# Nothing is kept on disk: gateways keep what was not acknowledged, signed, end to end. A broker that hands out an old
# command after a restart is a hazard.
persistence false
# Sessions that clients ask to be kept; ours never ask.
persistent_client_expiration 1h
# A retained message goes when its publisher's right to its topic has gone.
check_retain_source true
queue_qos0_messages false

# Sizes: an envelope is at most {ENVELOPE_BYTES_MAX} bytes, its packet {PACKET_BYTES_MAX}. A larger packet ends its sender's connection.
message_size_limit {ENVELOPE_BYTES_MAX}
max_packet_size {PACKET_BYTES_MAX}
# On their way to one client. 16 links of each of five streams, acks and commands fit; a manager takes 200.
max_inflight_messages 200
# Waiting for one client that reads slowly. What does not fit is dropped here and sent again by the gateways.
max_queued_messages 20000
max_queued_bytes 134217728
memory_limit 1073741824
# Gateways say 20 s. A dead link is noticed within one and a half of what its client said.
max_keepalive 60

# Nobody reads $SYS.
sys_interval 0
log_dest stderr
log_type error
log_type warning
log_type notice
# Who came and went, by name: the trace of a stolen certificate.
connection_messages true
"""


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """What differs from broker to broker.

    Args:
        managers: ids of the fleet managers. address, port: where to listen; port 1..65535.
        tls: folder on the broker's machine with ca.pem, broker.pem, broker.key and crl.pem. etc: folder of the
            configuration there. user: account to run as when started by root.
        connections_max: all clients together, 2..1000000.

    Raises:
        FolderError: one of these cannot stand in a configuration.
    """

    city: str
    managers: Sequence[str]
    address: str
    port: int
    tls: PurePosixPath
    etc: PurePosixPath
    user: str = "mosquitto"
    connections_max: int = CONNECTIONS_MAX

    def __post_init__(self) -> None:
        for what, name in (("city", self.city), *(("manager", name) for name in self.managers)):
            if not is_id(name):
                raise FolderError(f"{what}: expected 1..40 characters a-z, 0-9 and -, found {name[:60]!r}")
        if not self.managers:
            raise FolderError("at least one manager must be allowed, or nobody hears the gateways")
        if CHECK_OBSERVER in self.managers:
            raise FolderError(f"no manager may be called {CHECK_OBSERVER!r}: `broker check` is")
        for what, text in (("address", self.address), ("user", self.user)):
            if not text or not text.isascii() or not text.isprintable() or " " in text:
                raise FolderError(f"{what}: not a word: {text[:80]!r}")
        for path in (self.tls, self.etc):
            if not path.is_absolute() or not str(path).isprintable():
                raise FolderError(f"expected an absolute path on the broker's machine, found {str(path)[:200]!r}")
        if not 1 <= self.port <= 65_535 or not 2 <= self.connections_max <= 1_000_000:
            raise FolderError(f"port {self.port} or connections {self.connections_max}: out of range")


def mosquitto_conf(settings: BrokerSettings) -> str:
    """The configuration, for mosquitto 2.0 and later."""
    return _door(settings) + LIMITS


def _door(settings: BrokerSettings) -> str:
    return f"""\
# mosquitto 2.x for the city of {settings.city}. Written by `armoire-fleet broker config`; checked by `armoire-fleet broker check`.
# Two such brokers, which know nothing of each other, are better than a cluster: gateways walk from one to the other.

# One set of rules for everybody.
per_listener_settings false
user {settings.user}

# The one door. No listener without TLS, not even for this machine.
listener {settings.port} {settings.address}
protocol mqtt
# All clients together; beyond it new ones wait, those connected stay.
max_connections {settings.connections_max}
# Without it a handshake waits for delayed acknowledgements: 67 instead of 432 connects a second after an outage.
set_tcp_nodelay true

# Who we are, and whose certificates we accept.
tls_version tlsv1.3
cafile {settings.tls}/ca.pem
certfile {settings.tls}/broker.pem
keyfile {settings.tls}/broker.key
# Revoked certificates. Read at start and on SIGHUP only; connections that stand are not looked at again, so a revoked
# client is dropped by `armoire-fleet ca revoke --broker`. A list past its nextUpdate locks everybody out: ours last as long as the authority.
crlfile {settings.tls}/crl.pem
require_certificate true

# The certificate's name is the user name *and* the client id. What a client says of itself counts nothing, so nobody can
# push another off by taking its id.
use_identity_as_username true
use_username_as_clientid true
allow_anonymous false
acl_file {settings.etc}/{ACL_FILE}
"""


def acl(settings: BrokerSettings) -> str:
    """Who may do what, for ``acl_file``. What is not said is forbidden."""
    city = f"{ROOT}/{settings.city}"
    lines = [
        f"# Who may do what in {settings.city}. Written by `armoire-fleet broker config`. What is not said is forbidden.",
        "# A granted subscription proves nothing: rights are judged when a message is delivered.",
        "",
        "# A gateway, by the name in its certificate (%u). Each class of message by name: what it can have retained is",
        "# bounded, and a new class is a decision.",
        *(f"pattern write {city}/%u/up/{name}" for name in UP),
        *(f"pattern read {city}/%u/down/{name}" for name in DOWN),
        f"pattern read {city}/fleet/state",
    ]
    for name in dict.fromkeys(settings.managers):
        lines += [
            "",
            "# A fleet manager. The slash in its name is in no gateway's.",
            f"user {MANAGER_PREFIX}{name}",
            *(f"topic read {city}/+/up/{each}" for each in UP),
            *(f"topic write {city}/+/down/{each}" for each in DOWN),
            f"topic readwrite {city}/fleet/state",
        ]
    lines += [
        "",
        "# `armoire-fleet broker check` looks from here at what its own two gateways can do, and can reach no other.",
        f"user {MANAGER_PREFIX}{CHECK_OBSERVER}",
    ]
    for gateway in CHECK_GATEWAYS:
        lines += [f"topic read {city}/{gateway}/up/{name}" for name in UP]
        lines += [f"topic write {city}/{gateway}/down/{name}" for name in DOWN]
    return "\n".join(lines) + "\n"
