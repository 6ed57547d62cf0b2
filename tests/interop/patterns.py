"""The programs of `src/docs/patterns.md`, word for word, driven by the published clients.

`patterns/` is the page behind a WebSocket. Two npm clients and the PyPI one are members, and a bare
WebSocket does what they cannot. As in `scenarios.py`, no scenario waits for silence: that a message did
*not* arrive follows from a later message on the same connection.
"""

from __future__ import annotations

import json
from typing import Any

from websockets.asyncio.client import connect

from peers import Bare, Driver
from report import Report, expect
from scenarios import FENCE, ROOM, TRICKY, join, refused, restart, tell
from server import Server

MESSAGES = 50
# Far more than sockets buffer and the page's outbox holds: 4 MiB.
FLOOD, FLOOD_BYTES = 300, 100_000


class Clients:
    def __init__(self, npm: Driver, second: Driver, pypi: Driver, server: Server) -> None:
        self.npm, self.second, self.pypi = npm, second, pypi
        self.members = [npm, second, pypi]
        self.bare = Bare()
        self.server = server


async def connected(clients: Clients) -> None:
    """CONNECT is the first frame, and the only one; all clients are connected by it"""
    for peer in clients.members:
        await peer.ask("connect", url=clients.server.url)
        await peer.see(saw="connection", state="connected")
    bare = clients.bare
    await bare.connect(clients.server.url)
    (hello,) = await bare.see()
    shape = (hello["action"], hello["event"])
    expect(shape == ("CONNECT", "CONNECTION"), f"the first frame is {hello['text']}")
    ids = hello["payload"]
    expect(bool(ids.get("id")) and bool(ids.get("connectionId")), f"CONNECT carries {ids}")
    await _answered(bare, "BROADCAST", "/nowhere", "x", "NOT_FOUND")
    expect(len(bare.all()) == 2, f"the bare client got {bare.all()}")


async def joined(clients: Clients) -> None:
    """a join is acknowledged before the channel's other frames, an unknown channel declined"""
    for peer in clients.members:
        await join(peer, ROOM)
        await join(peer, FENCE)
        await refused(peer, "/chat/unknown")
    bare = clients.bare
    since = bare.mark()
    await _answered(bare, "JOIN_CHANNEL", FENCE, "JOIN_CHANNEL", "ACKNOWLEDGE")
    expect(len(bare.all(since)) == 1, f"a join was answered by {bare.all(since)}")


async def chatted(clients: Clients) -> None:
    """a chat of three: each gets each message once, in order, the sender too"""
    everyone = {peer: peer.mark() for peer in clients.members}
    for sender in clients.members:
        event = f"said by {sender.name}"
        await sender.ask("burst", channel=ROOM, event=event, count=MESSAGES)
        await _fence(clients, sender)
        for peer, since in everyone.items():
            got = [message["payload"]["n"] for message in peer.all(since, event=event)]
            expect(got == list(range(MESSAGES)), f"{peer.name} got {got} of {sender.name}'s")
    await tell(clients.npm, clients.members, ROOM, "tricky", TRICKY)


async def refused_outsider(clients: Clients) -> None:
    """a broadcast from a client that is not a member is refused, and reaches no one"""
    since = {peer: peer.mark() for peer in clients.members}
    payload = await _answered(clients.bare, "BROADCAST", ROOM, "intruder", "NOT_FOUND")
    expect(payload.get("code") == 404, f"refused with {payload}")
    await _fence(clients, clients.npm)
    for peer, mark in since.items():
        expect(not peer.all(mark, event="intruder"), f"{peer.name} got an outsider's broadcast")
    expect(not clients.bare.all(channelName=ROOM, action="BROADCAST"), "an outsider gets the room's messages")


async def refused_malformed(clients: Clients) -> None:
    """an invalid message is answered, and the connection continues"""
    bare, since = clients.bare, clients.bare.mark()
    broken = ["{", "[]", '{"action":"ping"}', ""]
    for text in broken:
        await bare.send_text(text)
    await bare.see(since, count=len(broken), action="ERROR", event="INVALID_MESSAGE")
    await _answered(bare, "BROADCAST", ROOM, "still open", "NOT_FOUND")


async def left(clients: Clients) -> None:
    """a leave is acknowledged; a client that left gets and may send nothing, and may rejoin"""
    bare = clients.bare
    await _answered(bare, "JOIN_CHANNEL", ROOM, "JOIN_CHANNEL", "ACKNOWLEDGE")
    # It is already a member: the join is acknowledged, and it stays a member once.
    await _answered(bare, "JOIN_CHANNEL", ROOM, "JOIN_CHANNEL", "ACKNOWLEDGE")
    since = bare.mark()
    await tell(clients.npm, clients.members, ROOM, "to a member", {})
    await _answered(bare, "LEAVE_CHANNEL", ROOM, "LEAVE_CHANNEL", "EXIT_ACKNOWLEDGE")
    await _answered(bare, "BROADCAST", ROOM, "from outside", "NOT_FOUND")
    # A second leave is acknowledged, too: the client has closed the channel in any case.
    await _answered(bare, "LEAVE_CHANNEL", ROOM, "LEAVE_CHANNEL", "EXIT_ACKNOWLEDGE")
    second, mark = clients.second, clients.second.mark()
    await second.ask("leave", channel=ROOM)
    await second.see(mark, saw="channel", channel=ROOM, state="CLOSED")
    await tell(clients.npm, [clients.npm, clients.pypi], ROOM, "to those who stayed", {})
    await _fence(clients, clients.npm)
    seen = [frame["event"] for frame in bare.all(since, action="BROADCAST", channelName=ROOM)]
    expect(seen == ["to a member"], f"the bare client got {seen}")
    seen = [message["event"] for message in second.all(mark, saw="message", channel=ROOM)]
    expect(not seen, f"{second.name} got {seen} after it left")
    await join(second, ROOM)
    await tell(clients.npm, clients.members, ROOM, "all again", {})


async def present(clients: Clients) -> None:
    """presence: join, update and leave, each sent once to the tracked members"""
    npm, _, pypi = clients.members
    here, away = {"name": "npm", "status": "here"}, {"name": "npm", "status": "away"}
    watcher = {"name": "pypi"}
    await pypi.ask("send", channel=ROOM, event="track", payload=watcher)
    await pypi.see(saw="joined", channel=ROOM, user=watcher)
    since = pypi.mark()
    await npm.ask("send", channel=ROOM, event="track", payload=here)
    await npm.ask("send", channel=ROOM, event="track", payload=away)
    for peer in (npm, pypi):
        await peer.see(saw="changed", channel=ROOM, user=away)
        listed = await peer.ask("presence", channel=ROOM)
        expect(listed == [watcher, away], f"{peer.name} lists {listed}")
    await npm.ask("leave", channel=ROOM)
    await pypi.see(since, saw="left", channel=ROOM, user=away)
    await join(npm, ROOM)
    await npm.ask("send", channel=ROOM, event="track", payload=here)
    await pypi.see(since, saw="joined", count=2, channel=ROOM)
    await npm.ask("send", channel=ROOM, event="untrack", payload={})
    await pypi.see(since, saw="left", channel=ROOM, user=here)
    # Presence and messages of a channel arrive in order, so no more presence can follow.
    await tell(clients.second, [pypi], ROOM, "after the presence", {})
    seen = [(it["saw"], it["user"]) for it in pypi.all(since) if it["saw"] in ("joined", "left")]
    wanted = [("joined", here), ("left", away), ("joined", here), ("left", here)]
    expect(seen == wanted, f"{pypi.name} saw {seen}")
    expect(not clients.second.all(saw="joined"), "an untracked member got presence")


async def announced(clients: Clients) -> None:
    """frames that differ by recipient: one for the moderator, another for the rest"""
    bare, npm = clients.bare, clients.npm
    user = bare.all(action="CONNECT")[0]["payload"]["id"]
    await _fence(clients, npm)
    since = {peer: peer.mark() for peer in (*clients.members, bare)}
    await npm.ask("send", channel=FENCE, event="announce", payload={"moderator": user})
    await _fence(clients, npm)
    for peer in clients.members:
        seen = [message["event"] for message in peer.all(since[peer], saw="message")]
        expect(seen == ["joined", f"fence of {npm.name}"], f"{peer.name} saw {seen}")
    (frame,) = await bare.see(since[bare], channelName=FENCE, event="joined-from")
    expect(frame["payload"] == {"moderator": user}, f"the moderator got {frame['text']}")
    expect(len(bare.all(since[bare])) == 2, f"the moderator saw {bare.all(since[bare])}")


async def given_up(clients: Clients) -> None:
    """a client that reads nothing is disconnected; the others get everything and see it leave"""
    npm, pypi = clients.npm, clients.pypi
    await pypi.ask("send", channel=ROOM, event="track", payload={"name": "pypi"})
    since = pypi.mark()
    # It reads only what the library reads ahead.
    async with connect(clients.server.url, max_queue=1, ping_interval=None) as silent:
        for event in ("JOIN_CHANNEL", "track"):
            action = "BROADCAST" if event == "track" else event
            frame = {"action": action, "event": event, "channelName": ROOM, "requestId": event}
            await silent.send(json.dumps({**frame, "payload": {"name": "silent"}}))
        await pypi.see(since, saw="joined", channel=ROOM, user={"name": "silent"})
        for n in range(FLOOD):
            payload = {"n": n, "text": "x" * FLOOD_BYTES}
            await tell(npm, clients.members, ROOM, "flood", payload)
        await pypi.see(since, saw="left", channel=ROOM, user={"name": "silent"})
        # When it finally reads, the connection has ended before the flood was complete.
        got = 0
        try:
            async for text in silent:
                got += json.loads(text)["event"] == "flood"
        except Exception:  # the connection ends within a frame
            pass
        expect(0 < got < FLOOD, f"it read {got} messages in the end")
    for peer in clients.members:
        seen = [message["payload"]["n"] for message in peer.all(event="flood")]
        expect(seen == list(range(FLOOD)), f"{peer.name} got {len(seen)} of {FLOOD}")


async def rejoined(clients: Clients) -> None:
    """the server is killed and restarted: all reconnect and rejoin by themselves"""
    await restart(clients.server, clients.members, ROOM, FENCE)
    await tell(clients.second, clients.members, ROOM, "after the restart", TRICKY)


async def ended(clients: Clients) -> None:
    """disconnect: tracked members see it"""
    second, pypi = clients.second, clients.pypi
    for peer in (pypi, second):
        await peer.ask("send", channel=ROOM, event="track", payload={"until": peer.name})
        await pypi.see(saw="joined", channel=ROOM, user={"until": peer.name})
    since = pypi.mark()
    await second.ask("disconnect")
    await pypi.see(since, saw="left", channel=ROOM, user={"until": second.name})
    for peer in clients.members:
        thrown = peer.all(saw="uncaught")
        expect(not thrown, f"{peer.name}: {thrown[:1]}")


async def _answered(
    bare: Bare, action: str, channel: str, event: str, answer: str
) -> dict[str, Any]:
    """One frame, and its one answer, by the same request id; returns the answer's payload."""
    request = await bare.send(action, channel, event, {})
    (frame,) = await bare.see(requestId=request)
    shape = (frame["action"], frame["event"], frame["channelName"])
    expect(shape == ("SYSTEM", answer, channel), f"{action} was answered by {frame['text']}")
    return frame["payload"]


async def _fence(clients: Clients, sender: Driver) -> None:
    """Afterwards everyone has seen the effects of what `sender` sent before."""
    since, event = clients.bare.mark(), f"fence of {sender.name}"
    await tell(sender, clients.members, FENCE, event, {})
    await clients.bare.see(since, channelName=FENCE, event=event)


CHECKS = [
    connected,
    joined,
    chatted,
    refused_outsider,
    refused_malformed,
    left,
    present,
    announced,
    given_up,
    rejoined,
    ended,
]


async def run(report: Report, server: Server, npm: Driver, second: Driver, pypi: Driver) -> None:
    clients = Clients(npm, second, pypi, server)
    await server.start()
    try:
        for peer in clients.members:
            await peer.start()
        for check in CHECKS:
            await report.run(f"patterns.md: {check.__doc__}", check(clients), 120)
    finally:
        for peer in (clients.bare, *clients.members):
            await peer.stop()
        await server.stop()
