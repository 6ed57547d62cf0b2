"""Two Python nodes in one namespace, a client at each: what one says, the other hears.

    two_python_nodes.py --redis redis://127.0.0.1:6379

It proves that `python_node.py` is a node; the tests of mixed nodes build on that.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import uuid
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect

NODE = Path(__file__).with_name("python_node.py")
ROOM = "/chat/42"


class Node:
    """A node in a process of its own, ended by its id."""

    def __init__(self, redis: str, name: str, namespace: str) -> None:
        self._argv = [sys.executable, str(NODE), "--redis", redis, "--node-id", name]
        self._argv += ["--namespace", namespace, "--heartbeat", "0.5"]

    async def __aenter__(self) -> Node:
        self._process = await asyncio.create_subprocess_exec(
            *self._argv, stdout=asyncio.subprocess.PIPE
        )
        line = await asyncio.wait_for(self._process.stdout.readline(), 20)
        port = re.search(rb":(\d+)$", line.strip())
        assert port, line
        self.url = f"ws://127.0.0.1:{int(port[1])}/api/socket"
        return self

    async def die(self) -> None:
        """Without a word to anybody."""
        self._process.kill()
        await self._process.wait()

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), 10)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


class Client:
    """A bare WebSocket with a member's requests and what it was sent."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def __aenter__(self) -> Client:
        self._socket = await connect(self._node.url)
        greeting = await self.next()
        assert greeting["event"] == "CONNECTION", greeting
        self.id = greeting["payload"]["id"]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._socket.close()

    async def send(self, action: str, event: str, payload: dict[str, Any]) -> None:
        message = {"action": action, "channelName": ROOM, "requestId": str(uuid.uuid4())}
        await self._socket.send(json.dumps({**message, "event": event, "payload": payload}))

    async def say(self, event: str, **payload: Any) -> None:
        await self.send("BROADCAST", event, payload)

    async def next(self) -> dict[str, Any]:
        return json.loads(await asyncio.wait_for(self._socket.recv(), 10))

    async def see(self, event: str) -> dict[str, Any]:
        """The next message with this event; those before it are passed over."""
        while (message := await self.next())["event"] != event:
            pass
        return message

    async def join(self, **payload: Any) -> None:
        await self.send("JOIN_CHANNEL", "JOIN_CHANNEL", payload)
        await self.see("ACKNOWLEDGE")

    async def users(self) -> dict[str, Any]:
        """Assigns and presence by user, as its node knows them."""
        await self.say("users")
        return (await self.see("users"))["payload"]


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--redis", required=True)
    redis, namespace = parser.parse_args().redis, f"test-{uuid.uuid4().hex[:8]}"
    async with (
        Node(redis, "a", namespace) as a,
        Node(redis, "b", namespace) as b,
        Client(a) as ann,
        Client(b) as bob,
    ):
        await ann.join(assigns={"name": "ann"})
        await bob.join(assigns={"name": "bob"})
        await asyncio.sleep(0.5)  # subscriptions and states cross

        await ann.say("say", text="hi")
        assert (await ann.see("say"))["payload"] == {"text": "hi"}
        heard = await bob.see("say")
        assert heard["action"] == "BROADCAST" and heard["payload"] == {"text": "hi"}, heard
        print("ok broadcast from a to b")

        await bob.say("to-others", text="not me")
        assert (await ann.see("to-others"))["payload"] == {"text": "not me"}
        await bob.say("to-some", ids=[ann.id], text="ann alone")
        assert (await ann.see("to-some"))["payload"]["text"] == "ann alone"
        await bob.say("echo", mark=1)
        seen = await bob.next()
        assert seen["event"] == "echo", f"bob is told of nothing that he said to others: {seen}"
        print("ok all but the sender, and users by id, from b to a")

        await ann.say("track", status="here")
        await ann.see("JOIN")
        await bob.say("track", status="too")
        joined = await ann.see("JOIN")
        assert joined["payload"]["changed"] == {"status": "too"}, joined
        users = await bob.users()
        assert users["assigns"].keys() == users["presence"].keys() == {ann.id, bob.id}, users
        print("ok presence and assigns of both on both nodes")

        await ann.say("evict", id=bob.id, reason="enough")
        evicted = await bob.see("EVICTED")
        assert evicted["payload"] == {"reason": "enough"}, evicted
        print("ok evicted across nodes")

        async with Node(redis, "c", namespace) as c, Client(c) as cleo:
            await cleo.join(assigns={"name": "cleo"})
            await asyncio.sleep(0.5)
            users = await cleo.users()
            assert users["assigns"].keys() == {ann.id, cleo.id}, users
            assert users["presence"] == {ann.id: {"status": "here"}}, users
            print("ok a late node is told of the state")

            await cleo.say("track", status="late")
            await ann.see("JOIN")
            assert "cleo" in str(await ann.users())
            await c.die()
            # They vanish from the state; Python sends no `LEAVE` for them.
            async with asyncio.timeout(10):
                while "cleo" in str(users := await ann.users()):
                    await asyncio.sleep(0.1)
            assert users["assigns"].keys() == users["presence"].keys() == {ann.id}, users
            print("ok the users of a dead node leave")
    print("two Python nodes are one room")


asyncio.run(main())
