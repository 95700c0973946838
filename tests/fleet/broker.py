"""Brokers of our own for one test each, on free ports of 127.0.0.1."""

import contextlib
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

IOTCORE = """
id = 0
[router]
id = 0
max_connections = 2000
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10
[v5.1]
name = "test"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1
  [v5.1.connections]
  connection_timeout_ms = 60000
  max_payload_size = 1048576
  max_inflight_count = 100
"""
MOSQUITTO = """
listener {port} 127.0.0.1
allow_anonymous true
persistence false
max_queued_messages 0
max_inflight_messages 0
"""
RUN_IOTCORE = "import logging, sys; logging.disable(50); from iotcore import Broker; Broker(config_path=sys.argv[1]).run_forever()"
START_S = 20.0
PORTS = range(16_000, 32_000)


def free_port() -> int:
    """A port nobody uses at the moment.

    Below those the kernel gives to connections going out: one of them could take it before our program does.
    """
    while True:  # Until one is free: there are thousands.
        port = secrets.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@contextlib.contextmanager
def iotcore(folder: Path, port: int = 0) -> Iterator[int]:
    """The demonstration's broker; gives its port."""
    port = port or free_port()
    config = folder / f"iotcore-{port}.toml"
    config.write_text(IOTCORE.format(port=port))
    with _running([sys.executable, "-c", RUN_IOTCORE, str(config)], folder, port):
        yield port


@contextlib.contextmanager
def mosquitto(program: Path, folder: Path, port: int = 0) -> Iterator[int]:
    """Debian's broker; gives its port."""
    port = port or free_port()
    config = folder / f"mosquitto-{port}.conf"
    config.write_text(MOSQUITTO.format(port=port))
    config.chmod(0o644)
    with _running([str(program), "-c", str(config)], folder, port):
        yield port


@contextlib.contextmanager
def _running(arguments: list[str], folder: Path, port: int) -> Iterator[None]:
    with (folder / f"broker-{port}.log").open("ab") as log:
        process = subprocess.Popen(arguments, stdout=log, stderr=log)
        try:
            _wait_listening(process, port)
            yield
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)


def _wait_listening(process: "subprocess.Popen[bytes]", port: int) -> None:
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s:
        assert process.poll() is None, f"the broker ended with {process.returncode}"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        time.sleep(0.02)
    raise AssertionError("the broker does not listen")
