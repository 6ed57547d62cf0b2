"""The scenarios from headless Chromium: the npm client bundled into a page, over
the browser's own `WebSocket` (which offers compression) and `EventSource`, and both bare.
"""

from __future__ import annotations

import json
import signal
from typing import Any

import scenarios
from peers import Driver
from report import Report, expect
from server import Server

# `await`ed in the page: collects a bare socket's messages until the event `last`.
BARE_WEBSOCKET = """async ({ url, frames, last }) => {
    const socket = new WebSocket(url);
    const received = [];
    await new Promise((resolve, reject) => {
        socket.onopen = () => frames.forEach((frame) => socket.send(JSON.stringify(frame)));
        socket.onerror = () => reject(new Error('WebSocket error'));
        socket.onmessage = ({ data }) => {
            received.push(data);
            if (JSON.parse(data).event === last) resolve();
        };
        setTimeout(() => reject(new Error(`received ${received}`)), 10000);
    });
    const { extensions } = socket;
    const closed = new Promise((resolve) => { socket.onclose = ({ code, wasClean }) => resolve({ code, wasClean }); });
    socket.close(1000);
    return { extensions, received, closed: await closed };
}"""

BARE_EVENT_SOURCE = """async ({ frames, last }) => {
    const source = new EventSource('/api/socket');
    const received = [];
    let arrived = () => {};
    source.onmessage = ({ data }) => { received.push(data); arrived(); };
    const until = async (what, holds) => {
        const end = Date.now() + 10000;
        while (!holds()) {
            if (Date.now() > end) throw new Error(`no ${what}: ${received}`);
            await new Promise((resolve) => { arrived = resolve; setTimeout(resolve, 100); });
        }
    };
    await until('CONNECT', () => received.length > 0);
    const { connectionId } = JSON.parse(received[0]).payload;
    const send = (id, body) => fetch('/api/socket', { method: 'POST', headers: { 'X-Connection-ID': id }, body });
    const statuses = [];
    for (const frame of frames) statuses.push((await send(connectionId, JSON.stringify(frame))).status);
    await until(last, () => received.some((data) => JSON.parse(data).event === last));
    const unknown = (await send('nobody', JSON.stringify(frames[0]))).status;
    let ended = false;
    source.onerror = () => { ended = true; source.close(); };
    const closing = await fetch('/api/socket', { method: 'DELETE', headers: { 'X-Connection-ID': connectionId } });
    await until('end of the stream', () => ended);
    const gone = (await send(connectionId, JSON.stringify(frames[0]))).status;
    return { received, statuses, unknown, closing: closing.status, gone };
}"""


def frame(action: str, event: str, request: str, payload: dict[str, Any]) -> dict[str, Any]:
    room = "/chat/page"
    keys = {"action": action, "event": event, "channelName": room, "requestId": request}
    return {**keys, "payload": payload}


FRAMES = [
    frame("JOIN_CHANNEL", "JOIN_CHANNEL", "j", {}),
    frame("BROADCAST", "tricky", "t", scenarios.TRICKY),
    frame("BROADCAST", "echo", "last", {}),
]


def _check_received(received: list[str]) -> None:
    events = [json.loads(text)["event"] for text in received]
    expect(events == ["CONNECTION", "ACKNOWLEDGE", "tricky", "echo"], f"events {events}")
    payload = json.loads(received[2])["payload"]
    expect(payload == scenarios.TRICKY, f"the broadcast came as {received[2][:300]}")
    expect(all("\n" not in text for text in received), "a newline in a frame")


async def bare_websocket(one: Driver, other: Driver, server: Server) -> None:
    """bare WebSocket in the page: compression agreed on, every frame whole, a clean close"""
    argument = {"url": server.url, "frames": FRAMES, "last": "echo"}
    result = await one.ask("evaluate", source=BARE_WEBSOCKET, argument=argument)
    extensions = result["extensions"]
    expect(extensions.startswith("permessage-deflate"), f"extensions {extensions!r}")
    expect("server_no_context_takeover" in extensions, f"extensions {extensions!r}")
    expect(result["closed"] == {"code": 1000, "wasClean": True}, f"closed {result['closed']}")
    _check_received(result["received"])


async def bare_event_source(one: Driver, other: Driver, server: Server) -> None:
    """bare EventSource in the page: onmessage gets everything, POST 204, DELETE ends the stream"""
    argument = {"frames": FRAMES, "last": "echo"}
    result = await one.ask("evaluate", source=BARE_EVENT_SOURCE, argument=argument)
    expect(result["statuses"] == [204] * len(FRAMES), f"POSTs {result['statuses']}")
    codes = (result["unknown"], result["closing"], result["gone"])
    expect(codes == (404, 204, 404), f"unknown, DELETE, POST afterwards: {codes}")
    _check_received(result["received"])


async def stream_closed(page: Driver, sse: Driver, server: Server) -> None:
    """an event stream is closed: the others see its user leave"""
    user = {"name": sse.name, "until": "the end"}
    await page.ask("send", channel=scenarios.ROOM, event="track", payload={"name": page.name})
    since = page.mark()
    await sse.ask("send", channel=scenarios.ROOM, event="track", payload=user)
    await page.see(since, saw="joined", channel=scenarios.ROOM, user=user)
    await sse.ask("disconnect")
    await sse.see(saw="connection", state="disconnected")
    await page.see(since, saw="left", channel=scenarios.ROOM, user=user)


# The server's own page, as a visitor sees it.

VISIT = """async ({ name }) => {
    const field = (id) => document.getElementById(id);
    field('room').value = 'visitors';
    field('name').value = name;
    field('join').requestSubmit();
}"""

SAY = """async ({ text }) => {
    document.getElementById('text').value = text;
    document.getElementById('say').requestSubmit();
}"""

CLICK = """async ({ id }) => document.getElementById(id).click()"""

# Waits until an element's text holds `text`; returns it.
SHOWS = """async ({ id, text }) => {
    const element = document.getElementById(id);
    const end = Date.now() + 8000;
    while (!element.textContent.includes(text)) {
        if (Date.now() > end) throw new Error(`#${id} shows ${element.textContent}, not ${text}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return element.textContent;
}"""


async def shows(visitor: Driver, place: str, text: str) -> str:
    return await visitor.ask("evaluate", source=SHOWS, argument={"id": place, "text": text})


async def visitors_chat(ann: Driver, bob: Driver, server: Server) -> None:
    """the server's page in two tabs: they chat and see each other"""
    for visitor in (ann, bob):
        await visitor.ask("evaluate", source=VISIT, argument={"name": visitor.name})
        await shows(visitor, "status", "In visitors")
    for one, other in ((ann, bob), (bob, ann)):
        text = f"<b>hello</b> from {one.name} & co"
        await one.ask("evaluate", source=SAY, argument={"text": text})
        for visitor in (one, other):
            await shows(visitor, "messages", f"{one.name}: {text}")
            await shows(visitor, "people", other.name)
            await shows(visitor, "count", "2")


async def visitors_crowd(ann: Driver, bob: Driver, server: Server) -> None:
    """the page simulates 1,000 viewers and slow readers, and sends them away"""
    for button in ("slow", "viewers", "flood"):
        await ann.ask("evaluate", source=CLICK, argument={"id": button})
    await shows(ann, "viewers", "Stop 1,000 viewers")
    await shows(ann, "policies", "cut off: too many frames")
    await shows(ann, "tail", "ms")
    for button in ("flood", "slow", "viewers"):
        await ann.ask("evaluate", source=CLICK, argument={"id": button})
    await shows(ann, "viewers", "Simulate 1,000 viewers")


async def visitors_return(ann: Driver, bob: Driver, server: Server) -> None:
    """the server is killed and restarted: both tabs are back in the room by themselves"""
    await server.stop(signal.SIGKILL)
    for visitor in (ann, bob):
        await shows(visitor, "status", "Disconnected")
    await server.start()
    for visitor in (ann, bob):
        await shows(visitor, "status", "In visitors")
        await shows(visitor, "count", "2")
    await ann.ask("evaluate", source=SAY, argument={"text": "back again"})
    await shows(bob, "messages", f"{ann.name}: back again")


async def run(report: Report, server: Server, page: Driver, sse: Driver) -> None:
    """`page` speaks WebSocket, `sse` server-sent events; each in a page of its own."""
    try:
        for peer in (page, sse):
            await peer.start()
        for check in (bare_websocket, bare_event_source):
            await report.run(check.__doc__, check(page, sse, server))
        for scenario in scenarios.FROM_EACH:
            for one, other in ((page, sse), (sse, page)):
                # One POST per message, over several connections: the browser keeps no order.
                if one is sse and scenario is scenarios.burst:
                    continue
                await report.run(f"{scenario.__doc__} ({one.name})", scenario(one, other, server))
        await report.run(stream_closed.__doc__, stream_closed(page, sse, server))
        await report.run(
            "the server is killed and restarted: the page reconnects and rejoins",
            scenarios.reconnect(page, page, server),
        )
        for check in (visitors_chat, visitors_crowd, visitors_return):
            await report.run(check.__doc__, check(page, sse, server))
        await report.run("no handler in a page threw", scenarios.no_errors(page, sse, server))
    finally:
        for peer in (page, sse):
            await peer.stop()
