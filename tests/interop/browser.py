"""The scenarios from headless Chromium: the npm client bundled into a page, over
the browser's own `WebSocket` (which offers compression) and `EventSource`, and both bare.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import signal
import urllib.request
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
    user, own = {"name": sse.name, "until": "the end"}, {"name": page.name}
    since = page.mark()
    await page.ask("send", channel=scenarios.ROOM, event="track", payload=own)
    # Of two changes within 100 ms one frame tells the last only.
    await page.see(since, saw="joined", channel=scenarios.ROOM, user=own)
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

# Waits until an expression is true; `$` finds an element by its id.
UNTIL = """async () => {
    const $ = (id) => document.getElementById(id);
    const end = Date.now() + 8000;
    while (!(%(holds)s)) {
        if (Date.now() > end) throw new Error(String.raw`not so: %(holds)s`);
        await new Promise((resolve) => setTimeout(resolve, 20));
    }
}"""

# The names of disabled controls without a visible reason.
UNEXPLAINED = """async () => [...document.querySelectorAll(':disabled')].filter((control) => {
    const reasons = control.getAttribute('aria-describedby')?.split(' ') ?? [];
    return !reasons.some((id) => {
        const reason = document.getElementById(id);
        return reason.checkVisibility() && reason.textContent === 'Join a room first.';
    });
}).map(({ id }) => id)"""

# The id of the focused element.
FOCUS = """async () => document.activeElement.id"""

# How far the page is wider than the window.
OVERFLOW = """async () => document.documentElement.scrollWidth - innerWidth"""

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


async def until(visitor: Driver, holds: str) -> None:
    await visitor.ask("evaluate", source=UNTIL % {"holds": holds})


async def click(visitor: Driver, *ids: str) -> None:
    for one in ids:
        await visitor.ask("evaluate", source=CLICK, argument={"id": one})


async def hashes(ann: Driver, bob: Driver, server: Server) -> None:
    """the page's policy allows its own script and style, by their hashes, and no other"""
    with urllib.request.urlopen(server.page) as response:
        page = response.read().decode()
    for tag in ("script", "style"):
        content = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        source = f"{tag}-src 'sha256-{digest}';"
        expect(source in page, f"page.html must have {source}")
    expect("unsafe-inline" not in page, "page.html allows inline code without a hash")


async def keyboard(ann: Driver, bob: Driver, server: Server) -> None:
    """the page by keyboard: join, write, toggle, leave; focus follows, and each disabled control says why"""
    unexplained = await ann.ask("evaluate", source=UNEXPLAINED)
    expect(unexplained == [], f"disabled without a reason: {unexplained}")
    await until(ann, "$('text').disabled && $('leave').hidden")
    await ann.ask("evaluate", source="async () => document.getElementById('room').select()")
    await ann.ask("press", keys=[*"keys", "Enter"])
    await shows(ann, "status", "In keys")
    await until(ann, "document.activeElement.id === 'text'")
    await ann.ask("press", keys=[*"hello", "Enter"])
    await shows(ann, "messages", "hello")

    order = []
    await ann.ask("evaluate", source="async () => document.getElementById('room').focus()")
    for _ in range(10):
        order.append(await ann.ask("evaluate", source=FOCUS))
        await ann.ask("press", keys=["Tab"])
    expected = "room name enter leave messages text send crowd viewers flood".split()
    expect(order == expected, f"the order of focus is {order}")

    await ann.ask("evaluate", source="async () => document.getElementById('viewers').focus()")
    await ann.ask("press", keys=["Space"])
    outline = await ann.ask("outline")
    for part in (
        'heading "pondwire" [level=1]',
        "- status: In keys",
        'textbox "Room"',
        'button "Leave"',
        '- log "Messages"',
        'textbox "Message"',
        'button "Simulate 1,000 viewers" [pressed]',
        'button "Send 200 messages a second"',
        'img "Deliveries a second, the last minute.',
        'heading "Drop the oldest" [level=3]',
    ):
        expect(part in outline, f"a screen reader has no {part!r} in {outline}")
    expect('"Send 200 messages a second" [pressed]' not in outline, "pressed without a press")

    await ann.ask("evaluate", source="async () => document.getElementById('leave').focus()")
    await ann.ask("press", keys=["Enter"])
    await shows(ann, "status", "You left keys")
    await until(ann, "document.activeElement.id === 'room' && $('text').disabled")
    outline = await ann.ask("outline")
    expect('button "Simulate 1,000 viewers" [disabled]' in outline, f"not disabled in {outline}")


async def accessible(ann: Driver, bob: Driver, server: Server) -> None:
    """axe-core finds nothing (WCAG 2 A and AA) and nothing overflows: light and dark, wide and 390 px, out and in"""

    async def look(where: str) -> None:
        for scheme in ("light", "dark"):
            for width in (1100, 390):
                await ann.ask("emulate", scheme=scheme, width=width)
                place = f"{where}, {scheme}, {width} px"
                found = await ann.ask("axe")
                expect(found == [], f"{place}: {found}")
        # At 320 px, WCAG asks that nobody has to scroll to the side.
        for width in (1100, 390, 320):
            await ann.ask("emulate", scheme="light", width=width)
            overflow = await ann.ask("evaluate", source=OVERFLOW)
            expect(overflow <= 0, f"{where}, {width} px: {overflow} px too wide")

    await look("out")
    await ann.ask("evaluate", source=VISIT, argument={"name": ann.name})
    await shows(ann, "status", "In visitors")
    await click(ann, "viewers", "slow")
    await ann.ask("evaluate", source=SAY, argument={"text": "hello"})
    await shows(ann, "back", "s")
    await look("in")
    await ann.ask("emulate", scheme="light", width=1280)
    await click(ann, "leave")


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
    await shows(ann, "messages", f"{bob.name} is here")


async def visitors_crowd(ann: Driver, bob: Driver, server: Server) -> None:
    """the page simulates 1,000 viewers and slow readers, shows what they do to a message, and sends them away"""
    await click(ann, "slow", "viewers", "flood")
    await shows(ann, "policies", "cut off: too many frames")
    chart = "$('charts').children[%d].querySelector('%s')"
    for number, title in enumerate(("Deliveries", "Messages", "Round trip", "Lost by slow")):
        label = chart % (number, "svg") + ".getAttribute('aria-label')"
        await until(ann, f"/^{title}.* now [1-9]/.test({label})")
        await until(ann, chart % (number, "path") + ".getAttribute('d').includes('L')")
    await click(ann, "flood")
    await ann.ask("evaluate", source=SAY, argument={"text": "how long?"})
    for step in ("parse", "encode", "compress", "broadcast", "back"):
        await until(ann, f"/^[0-9.]+ (ns|µs|ms)$/.test($('{step}').textContent)")
    # Two visitors, and the crowd, of which one reader may be gone.
    await until(ann, "/^1,00[56]$/.test($('recipients').textContent)")
    await until(ann, "/^[1-9]/.test($('received-rate').textContent)")
    await click(ann, "slow", "viewers")
    await until(ann, "!$('policies').textContent.includes('reading')")
    await ann.ask("evaluate", source=SAY, argument={"text": "and now?"})
    await shows(ann, "dots-text", "The 2 recipients")


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
        for check in (hashes, keyboard, accessible, visitors_chat, visitors_crowd, visitors_return):
            await report.run(check.__doc__, check(page, sse, server))
        await report.run("no handler in a page threw", scenarios.no_errors(page, sse, server))
    finally:
        for peer in (page, sse):
            await peer.stop()
