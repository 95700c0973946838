"""aiomqtt's client, careful about the numbers of sockets that have closed."""

from typing import Any

import aiomqtt
import paho.mqtt.client as paho


class Client(aiomqtt.Client):
    """Adds a socket to the loop only if it is still the connection's.

    aiomqtt adds its number in the loop's next round. By then the socket may be closed: the loop complains, or, if the
    number is another socket's by now, calls back without end.
    """

    def _on_socket_register_write(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        def write() -> None:
            try:
                client.loop_write()
            except Exception as error:  # noqa: BLE001 - as aiomqtt does: whatever it is, the connection is over
                if not self._disconnected.done():
                    self._disconnected.set_exception(error)

        def register() -> None:
            now = client.socket()
            if now is not None and now is sock and now.fileno() >= 0:
                self._loop.add_writer(now.fileno(), write)

        self._loop.call_soon_threadsafe(register)
