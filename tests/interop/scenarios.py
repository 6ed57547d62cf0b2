"""The scenarios that run through the server. One with two peers runs once from each language.

No scenario waits for silence: that a peer got *no* message follows from a later message on the same
connection (a fence), which the server may not let overtake.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterable
from typing import Any

from peers import Bare, Driver
from report import Report, expect
from server import Server

ROOM = "/chat/interop"
FENCE = "/chat/fence"
BURST = 1_000

TRICKY: dict[str, Any] = {
    "text": 'quote " backslash \\ slash / tab \t newline \n nul \x00',
    "unicode": "żółw 日本語 😀 \u2028 \ufffd",
    "numbers": [0, -1, 1.5, 1e-7, 9007199254740991, -9007199254740991],
    "deep": {"a": [{"b": [[{"c": None}]]}, True, False]},
    "": {"__proto__": {"x": 1}, "constructor": 2},
    "empty": [{}, [], ""],
    "long": "x" * 70_000,  # a WebSocket length of 64 bits
}


async def join(peer: Driver, channel: str, **params: Any) -> None:
    since = peer.mark()
    await peer.ask("join", channel=channel, params=params)
    await peer.see(since, saw="channel", channel=channel, state="JOINED")


async def refused(peer: Driver, channel: str, **params: Any) -> None:
    since = peer.mark()
    await peer.ask("join", channel=channel, params=params)
    await peer.see(since, saw="channel", channel=channel, state="DECLINED")
    expect(
        not peer.all(since, saw="channel", channel=channel, state="JOINED"),
        f"{channel} was joined before it was declined",
    )


async def tell(
    sender: Driver, recipients: list[Driver], channel: str, event: str, payload: dict[str, Any]
) -> None:
    """One broadcast that each recipient must see, equal."""
    since = [peer.mark() for peer in recipients]
    await sender.ask("send", channel=channel, event=event, payload=payload)
    for peer, mark in zip(recipients, since, strict=True):
        await peer.see(mark, saw="message", channel=channel, event=event, payload=payload)


async def missed(sender: Driver, peer: Driver, event: str) -> None:
    """A broadcast to the room that reaches the sender, and not the peer."""
    since = peer.mark()
    await tell(sender, [sender], ROOM, event, {"to": "the rest"})
    await tell(sender, [peer], FENCE, f"fence after {event}", {})
    expect(not peer.all(since, saw="message", event=event), f"{peer.name} still got {event!r}")


def _numbers(peer: Driver, since: int, channel: str) -> list[int]:
    said = peer.all(since, saw="message", channel=channel, event="say")
    return [message["payload"]["n"] for message in said]


# --- from each language -----------------------------------------------------------------------


async def connect(one: Driver, _: Driver, server: Server) -> None:
    """connect"""
    url = server.url
    if one.tap:
        await one.tap.start(server.port)
        url = one.tap.url
    await one.ask("connect", url=url)
    await one.see(saw="connection", state="connected")


async def join_a_channel(one: Driver, _: Driver, server: Server) -> None:
    """join"""
    await join(one, ROOM, name=one.name)
    await join(one, FENCE)


async def deny(one: Driver, _: Driver, server: Server) -> None:
    """deny"""
    await refused(one, "/chat/denied", deny=True)


async def unknown_channel(one: Driver, _: Driver, server: Server) -> None:
    """unknown channel"""
    await refused(one, "/nowhere/1")


async def echo(one: Driver, _: Driver, server: Server) -> None:
    """echo request and response"""
    answer = await one.ask("request", channel=ROOM, event="echo", payload=TRICKY)
    expect(answer == TRICKY, f"echo answered {json.dumps(answer)[:300]}")


async def echoes_at_once(one: Driver, _: Driver, server: Server) -> None:
    """50 requests in flight, each gets its own response"""
    payloads = [{"n": n} for n in range(50)]
    answers = await asyncio.gather(
        *(one.ask("request", channel=ROOM, event="echo", payload=p) for p in payloads)
    )
    expect(answers == payloads, f"answers {answers}")


async def broadcast(one: Driver, other: Driver, server: Server) -> None:
    """broadcast to the other language and to the sender"""
    await tell(one, [one, other], ROOM, f"news from {one.name}", TRICKY)


async def burst(one: Driver, other: Driver, server: Server) -> None:
    """a burst of 1,000 messages arrives in order"""
    event = f"burst from {one.name}"
    since = {peer: peer.mark() for peer in (one, other)}
    await one.ask("burst", channel=ROOM, event=event, count=BURST)
    for peer in (one, other):
        got = await peer.see(since[peer], count=BURST, saw="message", event=event)
        numbers = [message["payload"]["n"] for message in got]
        expect(numbers == list(range(BURST)), f"{peer.name} got {numbers}")


async def presence(one: Driver, other: Driver, server: Server) -> None:
    """presence join, update, leave"""
    here = {"name": one.name, "status": "here"}
    away = {"name": one.name, "status": "away"}
    watcher = {"name": other.name, "status": "watching"}
    await other.ask("send", channel=ROOM, event="track", payload=watcher)
    await other.see(saw="joined", channel=ROOM, user=watcher)

    since = other.mark()
    await one.ask("send", channel=ROOM, event="track", payload=here)
    await other.see(since, saw="joined", channel=ROOM, user=here)
    for peer in (one, other):
        await peer.see(saw="joined", channel=ROOM, user=here)
        listed = await peer.ask("presence", channel=ROOM)
        expect(_same_users(listed, [watcher, here]), f"{peer.name} lists {listed}")

    await one.ask("send", channel=ROOM, event="update", payload=away)
    await other.see(since, saw="changed", channel=ROOM, user=away)
    listed = await other.ask("presence", channel=ROOM)
    expect(_same_users(listed, [watcher, away]), f"{other.name} lists {listed} after the update")

    await one.ask("send", channel=ROOM, event="untrack", payload={})
    await other.see(since, saw="left", channel=ROOM, user=away)
    listed = await other.ask("presence", channel=ROOM)
    expect(_same_users(listed, [watcher]), f"{other.name} lists {listed} after the leave")

    since = other.mark()
    await other.ask("send", channel=ROOM, event="untrack", payload={})
    # The last leave notifies no one; an echo shows that the server has handled it.
    await other.ask("request", channel=ROOM, event="echo", payload={})


def _same_users(listed: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> bool:
    def key(user: dict[str, Any]) -> str:
        return json.dumps(user, sort_keys=True)

    return sorted(listed, key=key) == sorted(wanted, key=key)


async def evict(one: Driver, other: Driver, server: Server) -> None:
    """evict: notified with the reason, removed, and able to join again"""
    since = one.mark()
    await one.ask("send", channel=ROOM, event="evict", payload={"reason": "by request"})
    (notice,) = await one.see(since, saw="message", channel=ROOM, event="EVICTED")
    expect(notice["payload"].get("reason") == "by request", f"the notice is {notice}")
    await missed(other, one, f"after evicting {one.name}")
    await one.ask("leave", channel=ROOM)
    await join(one, ROOM)
    await tell(other, [one], ROOM, f"{one.name} is back", {})


async def leave(one: Driver, other: Driver, server: Server) -> None:
    """leave: closed here, gone from the presence there, and no more messages"""
    user, watcher = {"name": one.name}, {"name": other.name}
    await other.ask("send", channel=ROOM, event="track", payload=watcher)
    await other.see(saw="joined", channel=ROOM, user=watcher)
    since = other.mark()
    await one.ask("send", channel=ROOM, event="track", payload=user)
    await other.see(since, saw="joined", channel=ROOM, user=user)

    closed = one.mark()
    await one.ask("leave", channel=ROOM)
    await one.see(closed, saw="channel", channel=ROOM, state="CLOSED")
    await other.see(since, saw="left", channel=ROOM, user=user)
    await missed(other, one, f"after {one.name} left")

    await join(one, ROOM)
    await tell(other, [one], ROOM, f"{one.name} joined again", {})
    await other.ask("send", channel=ROOM, event="untrack", payload={})
    await other.ask("request", channel=ROOM, event="echo", payload={})


# --- once -------------------------------------------------------------------------------------


async def wire_shape(npm: Driver, bare: Bare, server: Server) -> None:
    """bare WebSocket: CONNECT comes first, then ACKNOWLEDGE; five keys in order, one line"""
    await bare.connect(server.url)
    (hello,) = await bare.see()
    expect(
        (hello["action"], hello["event"]) == ("CONNECT", "CONNECTION"), f"first is {hello['text']}"
    )
    expect(
        bool(hello["payload"].get("id")) and bool(hello["payload"].get("connectionId")),
        f"CONNECT carries {hello['payload']}",
    )
    request = await bare.send("JOIN_CHANNEL", ROOM, "JOIN_CHANNEL", {})
    (_, ack) = await bare.see(count=2)
    wanted = {
        "action": "SYSTEM",
        "event": "ACKNOWLEDGE",
        "channelName": ROOM,
        "requestId": request,
    }
    expect(wanted.items() <= ack.items(), f"the join was answered by {ack['text']}")
    await npm.ask("send", channel=ROOM, event="shape", payload={"a": "1\n2"})
    await bare.see(action="BROADCAST", event="shape", payload={"a": "1\n2"})
    for frame in bare.all():
        keys = list(json.loads(frame["text"]))
        order = ["action", "event", "channelName", "requestId", "payload"]
        expect(keys == order and "\n" not in frame["text"], f"a frame is {frame['text']!r}")


async def wire_refusals(npm: Driver, bare: Bare, server: Server) -> None:
    """bare WebSocket: deny 403, unknown channel 404, malformed input answered, still open"""
    for channel, params, code in (("/chat/denied", {"deny": True}, 403), ("/nowhere/1", {}, 404)):
        request = await bare.send("JOIN_CHANNEL", channel, "JOIN_CHANNEL", params)
        (answer,) = await bare.see(requestId=request)
        shape = (answer["action"], answer["event"], answer["payload"].get("code"))
        expect(shape == ("SYSTEM", "UNAUTHORIZED", code), f"{channel}: {answer['text']}")
    broken = ["{", "[]", '{"action":"PING"}', '{"action":"BROADCAST","event":1}', ""]
    for text in broken:
        await bare.send_text(text)
    await bare.see(count=len(broken), action="ERROR", event="INVALID_MESSAGE")
    request = await bare.send("BROADCAST", ROOM, "echo", {"still": "open"})
    await bare.see(requestId=request, event="echo", payload={"still": "open"})


async def evict_by_id(npm: Driver, bare: Bare, server: Server) -> None:
    """bare WebSocket: evicted by its id from npm, it gets no more of the room"""
    user = bare.all(action="CONNECT")[0]["payload"]["id"]
    await npm.ask("send", channel=ROOM, event="evict", payload={"id": user, "reason": "spam"})
    (notice,) = await bare.see(action="SYSTEM", event="EVICTED")
    expect(notice["channelName"] == ROOM, f"the notice is {notice['text']}")
    expect(notice["payload"].get("reason") == "spam", f"the notice is {notice['text']}")
    await bare.send("JOIN_CHANNEL", FENCE, "JOIN_CHANNEL", {})
    await bare.see(event="ACKNOWLEDGE", channelName=FENCE)
    await tell(npm, [npm], ROOM, "after evicting the bare one", {})
    await tell(npm, [npm], FENCE, "fence for the bare one", {})
    await bare.see(event="fence for the bare one")
    expect(not bare.all(event="after evicting the bare one"), "the evicted user still gets the room's messages")
    request = await bare.send("LEAVE_CHANNEL", FENCE, "LEAVE_CHANNEL", {})
    await bare.see(requestId=request, action="SYSTEM", event="EXIT_ACKNOWLEDGE")


async def restart(server: Server, peers: Iterable[Driver], *channels: str) -> dict[Driver, int]:
    """Kills the server and starts it again, and waits until all have rejoined; returns where that began for each."""
    since = {peer: peer.mark() for peer in peers}
    await server.stop(signal.SIGKILL)
    for peer, mark in since.items():
        await peer.see(mark, saw="connection", state="disconnected")
    since = {peer: peer.mark() for peer in since}
    await server.start()
    for peer, mark in since.items():
        await peer.see(mark, saw="connection", state="connected")
        for channel in channels:
            await peer.see(mark, saw="channel", channel=channel, state="JOINED")
    return since


async def reconnect(npm: Driver, pypi: Driver, server: Server) -> None:
    """the server is killed and restarted: both reconnect and rejoin by themselves"""
    peers = tuple(dict.fromkeys((npm, pypi)))
    await restart(server, peers, ROOM, FENCE)
    for sender in peers:
        await tell(sender, list(peers), ROOM, f"{sender.name} after the restart", TRICKY)
        answer = await sender.ask("request", channel=ROOM, event="echo", payload=TRICKY)
        expect(answer == TRICKY, f"{sender.name}'s echo answered {json.dumps(answer)[:300]}")


async def resume(npm: Driver, pypi: Driver, server: Server) -> None:
    """cut off while broadcasts go on, each gets what it missed, each once and in order, whatever a member sends"""
    lie = {"after": "gone", "connectionId": "another"}
    for one, other in ((npm, pypi), (pypi, npm)):
        channel, since = f"/kept/{one.name}", one.mark()
        await join(one, channel, resume={})
        await join(other, channel)
        for n in range(2):
            await other.ask("send", channel=channel, event="say", payload={"n": n, "resume": lie})
        await one.see(since, count=2, saw="message", channel=channel, event="say")
        cut, others = one.mark(), other.mark()
        one.tap.cut()
        await one.see(cut, saw="connection", state="disconnected")
        for n in range(2, 5):
            await other.ask("send", channel=channel, event="say", payload={"n": n})
        await other.see(others, count=3, saw="message", channel=channel, event="say")
        one.tap.mend()
        (told,) = await one.see(cut, saw="message", channel=channel, event="RESUME")
        shape = (told["payload"]["complete"], told["payload"]["missed"])
        expect(shape == (True, 3), f"{one.name} is told {told}")
        await other.ask("send", channel=channel, event="say", payload={"n": 5})
        await one.see(cut, count=4, saw="message", channel=channel, event="say")
        seen = _numbers(one, since, channel)
        expect(seen == list(range(6)), f"{one.name} got {seen}")
        for each in (one, other):
            await each.ask("leave", channel=channel)


async def compressed(npm: Driver, pypi: Driver, server: Server) -> None:
    """the Python client agrees on compression, and gets long messages compressed"""
    tap = pypi.tap
    expect("permessage-deflate" in tap.offered, f"offered: {tap.offered!r}")
    expect(tap.agreed.startswith("permessage-deflate"), f"agreed: {tap.agreed!r}")
    before = tap.received
    await tell(npm, [npm, pypi], ROOM, "compressed", TRICKY)
    received = tap.received - before
    expect(0 < received < 5_000, f"{received} bytes for {len(json.dumps(TRICKY))} of payload")


async def disconnect(npm: Driver, pypi: Driver, server: Server) -> None:
    """disconnect: the remaining client sees the other leave"""
    for peer in (pypi, npm):
        user = {"name": peer.name, "until": "the end"}
        await peer.ask("send", channel=ROOM, event="track", payload=user)
        await pypi.see(saw="joined", channel=ROOM, user=user)
    since = {peer: peer.mark() for peer in (npm, pypi)}
    await npm.ask("disconnect")
    await pypi.see(since[pypi], saw="left", channel=ROOM, user={"name": "npm", "until": "the end"})
    await pypi.ask("disconnect")
    for peer in (npm, pypi):
        await peer.see(since[peer], saw="connection", state="disconnected")


async def no_errors(npm: Driver, pypi: Driver, server: Server) -> None:
    """no handler of a client threw"""
    for peer in (npm, pypi):
        thrown = peer.all(saw="uncaught")
        expect(not thrown, f"{peer.name}: {thrown[:1]}")


FROM_EACH = [
    connect,
    join_a_channel,
    deny,
    unknown_channel,
    echo,
    echoes_at_once,
    broadcast,
    presence,
    burst,
    evict,
    leave,
]
WITH_BARE = [wire_shape, wire_refusals, evict_by_id]
TOGETHER = [compressed, resume, reconnect, disconnect, no_errors]


async def run(report: Report, server: Server, npm: Driver, pypi: Driver) -> None:
    bare = Bare()
    await server.start()
    try:
        for peer in (npm, pypi):
            await peer.start()
        for scenario in FROM_EACH:
            for one, other in ((npm, pypi), (pypi, npm)):
                name = f"{scenario.__doc__} ({one.name})"
                await report.run(name, scenario(one, other, server))
        for scenario in WITH_BARE:
            await report.run(scenario.__doc__, scenario(npm, bare, server))
        for scenario in TOGETHER:
            await report.run(scenario.__doc__, scenario(npm, pypi, server))
    finally:
        for peer in (bare, npm, pypi):
            await peer.stop()
        for peer in (npm, pypi):
            await peer.tap.stop()
        await server.stop()
