"""The embedded MQTT broker of the district: ``python -m simulators.broker PORT FOLDER``.

It accepts anybody and keeps nothing; demonstration and tests only, on 127.0.0.1. Production takes mosquitto.
"""

import os
import signal
import sys
from pathlib import Path

from iotcore import Broker

PACKET_BYTES_MAX = 1_048_576  # rumqttd's default of 20 kB is below our largest batch
CONFIGURATION = """\
id = 0
[router]
id = 0
max_connections = 200
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10
[v5.1]
name = "district"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1
  [v5.1.connections]
  connection_timeout_ms = 60000
  max_payload_size = {packet_bytes_max}
  max_inflight_count = 200
"""


def configuration(port: int) -> str:
    """A rumqttd configuration for MQTT 5 on one loopback port."""
    return CONFIGURATION.format(port=port, packet_bytes_max=PACKET_BYTES_MAX)


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM or SIGINT ends the process."""
    if len(arguments) != 2 or not arguments[0].isdecimal():
        print("usage: python -m simulators.broker PORT FOLDER", file=sys.stderr)
        return 2
    path = Path(arguments[1]) / "broker.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(configuration(int(arguments[0])))
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # It keeps nothing; a Python handler would never get its turn.
    with Path(os.devnull).open("w") as nowhere:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere.fileno(), stream.fileno())  # It reports every packet.
    Broker(config_path=str(path)).run_forever()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
