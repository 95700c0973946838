"""The MQTT 5 client that gateway and manager both hold on the broker: aiomqtt's, put right where it goes wrong.

The only module here that does I/O. The guard never imports it.
"""

import asyncio
from functools import cached_property
from typing import Any

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode


class PublishRefusedError(aiomqtt.MqttCodeError):
    """The broker answered that it does not take a message: nobody gets it from this broker."""


class Client(aiomqtt.Client):
    """A refused publish is an error, a lost connection ends a publish, and no other socket is ever touched."""

    @cached_property
    def _answers(self) -> dict[int, "asyncio.Future[None]"]:
        """Message ids that wait for their PUBACK."""
        return {}

    async def publish(  # type: ignore[override]  # Nobody needs paho's further arguments.
        self,
        topic: str,
        payload: bytes,
        qos: int,
        retain: bool = False,
        properties: Properties | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - as aiomqtt has it
    ) -> None:
        """Publish and wait for the broker's answer. Messages leave in the order of the calls.

        aiomqtt waits for a PUBACK but does not look into it: a refused publish would seem stored. And it leaves a publish
        pending after a disconnect.

        Raises:
            PublishRefusedError: nobody gets it.
            aiomqtt.MqttError: no answer within the timeout, or the connection ended: it may have arrived or not.
        """
        sent = self._client.publish(topic, payload, qos, retain, properties)
        if sent.rc != paho.MQTT_ERR_SUCCESS:
            raise aiomqtt.MqttCodeError(sent.rc)
        if sent.is_published():
            return
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answers[sent.mid] = answer
        gone = self._disconnected
        try:
            await asyncio.wait({answer, gone}, timeout=timeout or self.timeout, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                answer.result()
                return
        finally:
            self._answers.pop(sent.mid, None)
            answer.cancel()
        raise aiomqtt.MqttError("the connection ended" if gone.done() else "no answer to a message")

    def _on_publish(
        self, client: paho.Client, userdata: Any, mid: int, reason_code: ReasonCode, properties: Properties
    ) -> None:
        answer = self._answers.pop(mid, None)
        if answer is None or answer.done():
            return
        if reason_code.is_failure:
            answer.set_exception(PublishRefusedError(reason_code))
        else:
            answer.set_result(None)

    def _on_socket_register_write(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        """Add a socket to the loop only if it is still the connection's.

        aiomqtt adds its number in the loop's next round. By then the socket may be closed: the loop complains, or, if the
        number is another socket's by now, calls back without end.
        """

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

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        """A broker that refuses a certificate hangs up instead of answering: aiomqtt would wait for its timeout."""
        if not self._connected.done() and _in_loop():  # While it connects, paho runs in a thread and raises by itself.
            self._connected.set_exception(aiomqtt.MqttError(f"hung up before it let us in: {reason_code}"))
            self._connected.exception()  # Looked at, should nobody wait any more.
        super()._on_disconnect(client, userdata, flags, reason_code, properties)


def _in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
