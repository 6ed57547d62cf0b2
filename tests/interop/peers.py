"""The other ends of the wire: two drivers in processes of their own, and a bare WebSocket.

A driver takes one JSON command a line, `{"id", "do", ...}`, and answers `{"id", "ok", ...}`.
It writes each callback of its PondSocket client at once as a line `{"saw", ...}`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from report import Failed
from tap import Tap

PATIENCE = 10.0


class Sightings:
    """An ordered record of what one peer has seen, which can be waited on."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seen: list[dict[str, Any]] = []
        self._changed = asyncio.Condition()

    async def record(self, sighting: dict[str, Any]) -> None:
        async with self._changed:
            self.seen.append(sighting)
            self._changed.notify_all()

    def mark(self) -> int:
        """The position from which a later `see` or `all` searches."""
        return len(self.seen)

    def all(self, since: int = 0, **fields: Any) -> list[dict[str, Any]]:
        return [s for s in self.seen[since:] if _matches(s, fields)]

    async def see(self, since: int = 0, count: int = 1, **fields: Any) -> list[dict[str, Any]]:
        """Waits until `count` sightings with these fields were made; returns them in order."""
        async with self._changed:
            try:
                await asyncio.wait_for(
                    self._changed.wait_for(lambda: len(self.all(since, **fields)) >= count),
                    PATIENCE,
                )
            except TimeoutError:
                found = len(self.all(since, **fields))
                wanted = _short(fields)
                last = "; ".join(_short(sighting) for sighting in self.seen[since:][-5:])
                raise Failed(
                    f"{self.name} saw {found} of {count} {wanted} in {PATIENCE:.0f} s; "
                    f"last seen: {last or 'nothing'}"
                ) from None
        return self.all(since, **fields)[:count]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _matches(sighting: dict[str, Any], fields: dict[str, Any]) -> bool:
    return all(key in sighting and sighting[key] == value for key, value in fields.items())


class Driver(Sightings):
    """A PondSocket client of another language."""

    def __init__(
        self,
        name: str,
        argv: list[str],
        log: Path,
        tap: Tap | None = None,
        variables: dict[str, str] | None = None,
    ) -> None:
        super().__init__(name)
        self._environment = {**os.environ, **(variables or {})}
        self.tap = tap  # the pipe that it connects through
        self._argv = argv
        self._log = log
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=self._environment,
                limit=1 << 22,
            )
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while line := await self._process.stdout.readline():
            message = json.loads(line)
            if "saw" in message:
                await self.record(message)
                continue
            answer = self._answers.pop(message["id"], None)
            if answer and not answer.done():
                if message["ok"]:
                    answer.set_result(message.get("value"))
                else:
                    answer.set_exception(Failed(f"{self.name}: {message['error']}"))
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(Failed(f"the {self.name} driver ended, see {self._log}"))

    async def ask(self, do: str, **arguments: Any) -> Any:
        """One command, awaited."""
        number = next(self._ids)
        answer = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        command = {"id": number, "do": do, **arguments}
        try:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            await self._process.stdin.drain()
            return await asyncio.wait_for(answer, PATIENCE)
        except TimeoutError:
            raise Failed(f"{self.name} did not answer {do!r} in {PATIENCE:.0f} s") from None
        except ConnectionError:
            raise Failed(f"the {self.name} driver ended, see {self._log}") from None

    async def stop(self) -> None:
        if self._process is None:
            return
        if self._process.returncode is None:
            self._process.stdin.close()
            try:
                await asyncio.wait_for(self._process.wait(), 5)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        await self._reader


class Bare(Sightings):
    """A WebSocket without a client library: it sees frames as they are on the wire.

    A sighting is the parsed frame plus `text`, the frame itself.
    """

    def __init__(self) -> None:
        super().__init__("bare")
        self._socket: ClientConnection | None = None
        self._requests = itertools.count(1)

    async def connect(self, url: str) -> None:
        self._socket = await connect(url, open_timeout=PATIENCE)
        self._reader = asyncio.create_task(self._read(self._socket))

    async def _read(self, socket: ClientConnection) -> None:
        try:
            async for text in socket:
                if isinstance(text, bytes):
                    await self.record({"binary": text.hex()})
                else:
                    await self.record({**json.loads(text), "text": text})
        except ConnectionClosed:
            pass  # the server is killed on purpose in one of the scenarios

    async def send_text(self, text: str) -> None:
        await self._socket.send(text)

    async def send(self, action: str, channel: str, event: str, payload: dict[str, Any]) -> str:
        """Sends one frame; returns its request id."""
        request = f"bare-{next(self._requests)}"
        frame = {
            "action": action,
            "event": event,
            "channelName": channel,
            "requestId": request,
            "payload": payload,
        }
        await self.send_text(json.dumps(frame))
        return request

    async def stop(self) -> None:
        if self._socket:
            await self._socket.close()
            await self._reader
