"""Nodes of either kind, a Redis that can be killed, and clients: all in separate processes or on sockets,
all ended by the code that started them.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from redis.asyncio import Redis as RedisClient
from redis.exceptions import RedisError
from websockets.asyncio.client import connect

PYTHON_NODE = Path(__file__).with_name("python_node.py")
ROOM = "/chat/42"
HEARTBEAT = 0.5  # seconds; a node is dead after three
PATIENCE = 15.0


async def until(what: str, check: Any, patience: float = PATIENCE) -> Any:
    """Polls until an answer is true, and returns it."""
    answer, end = None, time.monotonic() + patience
    while time.monotonic() < end:
        if answer := await check():
            return answer
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within {patience:.0f} s: {what}")


class Process:
    """A process, ended by its id at the latest when its `with` block ends."""

    _process: asyncio.subprocess.Process | None = None

    async def run(self, *argv: str, **pipes: Any) -> None:
        self._process = await asyncio.create_subprocess_exec(*argv, **pipes)

    async def kill(self) -> None:
        """Ends it without any notice, as a crash would."""
        if self._process and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def stop(self) -> None:
        """Ends it gracefully."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), 15)
        except TimeoutError:
            await self.kill()
            raise AssertionError("it did not end in 15 s") from None

    async def __aenter__(self) -> Any:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


class Redis(Process):
    """A Redis without persistence, in its own folder, on a free port that it keeps. A client that must
    connect first uses its Unix socket.
    """

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}"
        self._folder = tempfile.mkdtemp(prefix="pondwire-redis-")
        self.socket_url = f"unix://{self._folder}/socket"

    async def start(self) -> None:
        """Starts Redis on its socket only: no client can connect by the port before it is opened."""
        argv = ["redis-server", "--bind", "127.0.0.1", "--port", "0", "--save", ""]
        argv += ["--appendonly", "no", "--dir", self._folder]
        argv += ["--unixsocket", f"{self._folder}/socket"]
        await self.run(*argv, stdout=asyncio.subprocess.DEVNULL)

        async def answers() -> bool:
            try:
                async with RedisClient.from_url(self.socket_url) as client:
                    return await client.ping()
            except (RedisError, OSError):
                return False

        await until("Redis answers", answers)

    async def open_port(self) -> None:
        async with RedisClient.from_url(self.socket_url) as client:
            await client.config_set("port", self.port)

    async def __aexit__(self, *_: object) -> None:
        await self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


class Node(Process):
    """A node started by `argv`, followed by `--redis`, `--node-id` and so on."""

    is_pondwire = False

    def __init__(self, redis: str, name: str, namespace: str, *more: str) -> None:
        self.name = name
        self._argv = [*self.command(), "--addr", "127.0.0.1:0", "--redis", redis]
        self._argv += ["--node-id", name, "--namespace", namespace]
        self._argv += ["--heartbeat", str(HEARTBEAT), *more]

    async def start(self) -> None:
        await self.run(*self._argv, stdout=asyncio.subprocess.PIPE)
        line = await asyncio.wait_for(self._process.stdout.readline(), 20)
        port = re.search(rb":(\d+)$", line.strip())
        assert port, line
        self.port = int(port[1])
        self.url = f"ws://127.0.0.1:{self.port}/api/socket"


class PythonNode(Node):
    """A node of the PyPI package, in `python_node.py`."""

    def command(self) -> list[str]:
        return [sys.executable, str(PYTHON_NODE)]


class PondwireNode(Node):
    """A node of this repository, in `server/examples/server`."""

    is_pondwire = True
    binary = ""

    def command(self) -> list[str]:
        return [self.binary]

    async def metrics(self) -> dict[str, int]:
        """All samples, by name and labels as written, without the prefix."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"GET /metrics HTTP/1.1\r\nhost: test\r\n\r\n")
        page = (await reader.read()).decode()
        writer.close()
        numbers = re.findall(r"^pondwire_(\S+) (\d+)$", page, re.MULTILINE)
        return {name: int(number) for name, number in numbers}


class Client:
    """A member over a bare WebSocket; records all that it receives, with the time."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.seen: list[tuple[float, dict[str, Any]]] = []
        self._next = 0
        self._came = asyncio.Event()

    async def __aenter__(self) -> Client:
        self._socket = await connect(self._node.url, compression=None, max_size=None)
        self._reader = asyncio.create_task(self._read())
        self.id = (await self.see("CONNECTION"))["payload"]["id"]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._socket.close()
        await self._reader

    async def _read(self) -> None:
        try:
            async for text in self._socket:
                self.seen.append((time.monotonic(), json.loads(text)))
                self._came.set()
        except OSError:
            pass
        except Exception as error:  # the node was killed, or the test fails for the missing message
            self.broke = error

    async def send(self, action: str, event: str, payload: dict[str, Any]) -> None:
        message = {"action": action, "channelName": ROOM, "requestId": str(uuid.uuid4())}
        await self._socket.send(json.dumps({**message, "event": event, "payload": payload}))

    async def say(self, event: str, **payload: Any) -> None:
        await self.send("BROADCAST", event, payload)

    async def next(self) -> dict[str, Any]:
        """The next message not yet taken."""
        async with asyncio.timeout(PATIENCE):
            while self._next == len(self.seen):
                self._came.clear()
                await self._came.wait()
        self._next += 1
        return self.seen[self._next - 1][1]

    async def see(self, event: str, **payload: Any) -> dict[str, Any]:
        """The next message with this event and these payload fields; skips others."""
        passed = []
        try:
            while (message := await self.next())["event"] != event or not (
                payload.items() <= message["payload"].items()
            ):
                passed.append((message["event"], message["payload"]))
        except TimeoutError:
            wanted = f"{event} {payload}"
            raise AssertionError(f"{wanted} did not come; but {passed[-5:]}") from None
        return message

    async def join(self, **payload: Any) -> None:
        await self.send("JOIN_CHANNEL", "JOIN_CHANNEL", payload)
        await self.see("ACKNOWLEDGE")

    async def leave(self) -> None:
        await self.send("LEAVE_CHANNEL", "LEAVE_CHANNEL", {})

    async def users(self) -> dict[str, Any]:
        """Assigns and presence by user, as its node knows them."""
        await self.say("users")
        return (await self.see("users"))["payload"]

    async def knows(self, *ids: str) -> dict[str, Any]:
        """Waits until its node knows these users and no others."""
        last: dict[str, Any] = {}

        async def check() -> Any:
            nonlocal last
            last = await self.users()
            return last if last["assigns"].keys() == set(ids) else None

        try:
            return await until("", check)
        except AssertionError:
            raise AssertionError(f"users {ids} wanted, {last} known") from None
