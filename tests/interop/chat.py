"""The example `chat` in its three forms, standalone, as a route of axum and over TLS, driven by the published clients.

As in `scenarios.py`, no scenario waits for silence.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect

from peers import Driver
from report import Report, expect
from scenarios import join, restart
from server import Server

ROOM = "/chat/lobby"


class Chat:
    """One form of the chat, with a client of each language."""

    def __init__(self, server: Server, npm: Driver, pypi: Driver) -> None:
        self.server = server
        self.npm, self.pypi = npm, pypi
        self.members = [npm, pypi]


def certificate(folder: Path) -> tuple[Path, Path]:
    """The certificate that the documentation of the example `tls` makes, and its key."""
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        + ["-days", "30", *subject, "-keyout", "key.pem", "-out", "certificate.pem"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return folder / "certificate.pem", folder / "key.pem"


# --- in all forms -----------------------------------------------------------------------------


async def joined(chat: Chat) -> None:
    """both connect, join, and see each other"""
    for peer in chat.members:
        await peer.ask("connect", url=chat.server.url)
        await peer.see(saw="connection", state="connected")
        await join(peer, ROOM, name=peer.name)
    for peer in chat.members:
        await _sees(peer, 0, {member.name for member in chat.members})


async def said(chat: Chat) -> None:
    """what each says reaches both, once and in order"""
    for sender in chat.members:
        since = {peer: peer.mark() for peer in chat.members}
        texts = [f"{n}: grüße 🦆 of {sender.name}" for n in range(20)]
        for text in texts:
            await sender.ask("send", channel=ROOM, event="say", payload={"text": text})
        for peer, mark in since.items():
            got = await peer.see(mark, count=len(texts), saw="message", channel=ROOM, event="said")
            expect([it["payload"]["text"] for it in got] == texts, f"{peer.name} got {got}")


async def rejoined(chat: Chat) -> None:
    """the server is killed and restarted: both reconnect and rejoin by themselves"""
    since = await restart(chat.server, chat.members, ROOM)
    for peer, mark in since.items():
        await _sees(peer, mark, {member.name for member in chat.members})
    await said(chat)


async def left(chat: Chat) -> None:
    """one leaves, and the other sees it"""
    since = chat.pypi.mark()
    await chat.npm.ask("leave", channel=ROOM)
    await chat.npm.see(saw="channel", channel=ROOM, state="CLOSED")
    (gone,) = await chat.pypi.see(since, saw="left", channel=ROOM)
    expect(gone["user"]["name"] == chat.npm.name, f"{gone} left")
    await _sees(chat.pypi, since, {chat.pypi.name})
    for peer in chat.members:
        thrown = peer.all(saw="uncaught")
        expect(not thrown, f"{peer.name}: {thrown[:1]}")


# --- standalone and axum ----------------------------------------------------------------------


async def whispered(chat: Chat) -> None:
    """a private message reaches its recipient and its sender, under the name that each has now"""
    npm, pypi = chat.npm, chat.pypi
    ids = {user["name"]: user["id"] for user in await pypi.ask("presence", channel=ROOM)}
    for sender, recipient in ((npm, pypi), (pypi, npm)):
        since = {peer: peer.mark() for peer in chat.members}
        event, payload = f"whisper/{ids[recipient.name]}", {"text": f"psst, {recipient.name}"}
        await sender.ask("send", channel=ROOM, event=event, payload=payload)
        wanted = {"from": ids[sender.name], **payload}
        for peer, mark in since.items():
            await peer.see(mark, saw="message", channel=ROOM, event="whispered", payload=wanted)
    since = {peer: peer.mark() for peer in chat.members}
    await npm.ask("send", channel=ROOM, event="typing", payload={})
    await npm.ask("send", channel=ROOM, event="rename", payload={"name": "node"})
    await npm.ask("send", channel=ROOM, event="say", payload={"text": "renamed"})
    wanted = {"id": ids[npm.name], "name": "node", "text": "renamed"}
    for peer, mark in since.items():
        await peer.see(mark, saw="message", channel=ROOM, event="said", payload=wanted)
        await _sees(peer, mark, {"node", pypi.name})


async def hosted(chat: Chat) -> None:
    """the host of a room removes another, who is told so; nobody else may"""
    ids = {user["name"]: user["id"] for user in await chat.pypi.ask("presence", channel=ROOM)}
    # Whichever has rejoined first.
    first = chat.npm.all(saw="message", channel=ROOM, event="welcome")[-1]["payload"]["host"]
    host, guest = sorted(chat.members, key=lambda peer: ids[peer.name] != first)
    since = {peer: peer.mark() for peer in chat.members}
    await guest.ask("send", channel=ROOM, event=f"kick/{ids[host.name]}", payload={})
    (refusal,) = await guest.see(since[guest], saw="message", event="INTERNAL_ERROR")
    expect(refusal["payload"]["code"] == 403, f"refused with {refusal}")
    await host.ask("send", channel=ROOM, event=f"kick/{ids[guest.name]}", payload={})
    (notice,) = await guest.see(since[guest], saw="message", channel=ROOM, event="EVICTED")
    expect(notice["payload"]["reason"] == "removed by the host", f"the notice is {notice}")
    await host.see(since[host], saw="left", channel=ROOM)


# --- one form only ----------------------------------------------------------------------------


async def listed(chat: Chat) -> None:
    """another route of the application lists who is in the lobby"""
    port = chat.server.port

    def fetch() -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/lobby", timeout=10) as answer:
            return json.load(answer)

    users = json.dumps(await asyncio.to_thread(fetch))
    for peer in chat.members:
        expect(f'"name": "{peer.name}"' in users, f"the lobby has {users}")


async def distrusted(chat: Chat) -> None:
    """a client that does not trust the certificate does not connect"""
    try:
        async with connect(chat.server.url, ssl=ssl.create_default_context()):
            pass
    except ssl.SSLCertVerificationError:
        return
    expect(False, "it has connected")


async def _sees(peer: Driver, since: int, names: set[str]) -> None:
    """Waits for a presence list with these names."""

    def found() -> bool:
        lists = [it["users"] for it in peer.all(since, saw="users", channel=ROOM)]
        return any({user["name"] for user in users} == names for users in lists)

    for _ in range(200):
        if found():
            return
        await asyncio.sleep(0.05)
    expect(False, f"{peer.name} never saw {names}: {peer.all(since, saw='users')[-3:]}")


FORMS = {
    "standalone": [joined, said, rejoined, hosted],
    "axum": [joined, said, listed, whispered],
    "tls": [joined, said, distrusted, rejoined, left],
}


async def run(report: Report, form: str, server: Server, npm: Driver, pypi: Driver) -> None:
    chat = Chat(server, npm, pypi)
    await server.start()
    try:
        for peer in chat.members:
            await peer.start()
        for check in FORMS[form]:
            await report.run(f"chat, {form}: {check.__doc__}", check(chat), 60)
    finally:
        for peer in chat.members:
            await peer.stop()
        await server.stop()
