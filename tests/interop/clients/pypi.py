"""Drives `pondsocket-client` from PyPI; the commands are described in peers.py."""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
from typing import Any

from pondsocket_client import Channel, ClientOptions, PondClient


def write(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def saw(what: str, **fields: Any) -> None:
    write({"saw": what, **fields})


class Driver:
    def __init__(self) -> None:
        self.channels: dict[str, Channel] = {}

    async def connect(self, url: str) -> None:
        options = ClientOptions(
            connection_timeout=5, base_reconnect_delay=0.2, max_reconnect_delay=0.5
        )
        self.client = PondClient(url, {}, options)
        self.client.on_connection_change(
            lambda state: saw("connection", state=state.value.lower())
        )
        self.client.on_error(lambda error: saw("error", message=repr(error)))
        await self.client.connect()

    async def join(self, channel: str, params: dict[str, Any]) -> None:
        joined = self.client.create_channel(channel, params)
        self.channels[channel] = joined
        if "resume" in params:
            # As the documentation of `ChannelHandlers::history` says: only broadcasts have an id.
            def remember(message: Any) -> None:
                payload = message.payload
                seen = {"after": message.request_id} if "id" in payload else payload.get("resume", {})
                params["resume"].update(seen)

            joined.on_message(remember)
        watch(joined, channel)
        joined.join()

    async def leave(self, channel: str) -> None:
        self.channels[channel].leave()

    async def send(self, channel: str, event: str, payload: dict[str, Any]) -> None:
        self.channels[channel].send_message(event, payload)

    async def burst(self, channel: str, event: str, count: int) -> None:
        for n in range(count):
            self.channels[channel].send_message(event, {"n": n})

    async def request(self, channel: str, event: str, payload: dict[str, Any]) -> Any:
        return await self.channels[channel].send_for_response(event, payload)

    async def presence(self, channel: str) -> Any:
        return self.channels[channel].presence

    async def disconnect(self) -> None:
        await self.client.disconnect()

    async def answer(self, line: bytes) -> None:
        command = json.loads(line)
        number, do = command.pop("id"), command.pop("do")
        try:
            write({"id": number, "ok": True, "value": await getattr(self, do)(**command)})
        except Exception:
            write({"id": number, "ok": False, "error": traceback.format_exc()})


def watch(channel: Channel, name: str) -> None:
    channel.on_channel_state_change(lambda state: saw("channel", channel=name, state=state.value))
    channel.on_message(lambda m: saw("message", channel=name, event=m.event, payload=m.payload))
    channel.on_join(lambda user: saw("joined", channel=name, user=user))
    channel.on_leave(lambda user: saw("left", channel=name, user=user))
    channel.on_presence_change(lambda p: saw("changed", channel=name, user=p.changed))
    channel.on_users_change(lambda users: saw("users", channel=name, users=users))


async def main() -> None:
    driver = Driver()
    lines = asyncio.StreamReader(limit=1 << 22)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )
    running = set()
    while line := await lines.readline():
        task = asyncio.create_task(driver.answer(line))
        running.add(task)
        task.add_done_callback(running.discard)


asyncio.run(main())
