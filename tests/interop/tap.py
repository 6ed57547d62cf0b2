"""A pipe between a client and the server that counts bytes, reads the WebSocket handshake, and can be cut."""

from __future__ import annotations

import asyncio
import re

EXTENSIONS = re.compile(rb"^sec-websocket-extensions:\s*(.*?)\r$", re.IGNORECASE | re.MULTILINE)


class Tap:
    """The latest connection: extensions offered, extensions accepted, bytes from the server."""

    def __init__(self) -> None:
        self.offered = ""
        self.agreed = ""
        self.received = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._upstream = 0
        self._is_cut = False
        self._ends: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/api/socket"

    async def start(self, upstream: int) -> None:
        self._upstream = upstream
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if self._is_cut:
            writer.close()
            return
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        ends = {writer, server_writer}
        self._ends |= ends
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            server_writer.write(request)
            answer = await server_reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            self.offered, self.agreed = _extensions(request), _extensions(answer)
            self.received = 0
            await asyncio.gather(
                self._pipe(reader, server_writer, counted=False),
                self._pipe(server_reader, writer, counted=True),
            )
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # either end may disconnect at any time
        finally:
            self._ends -= ends
            writer.close()
            server_writer.close()

    def cut(self) -> None:
        """Ends the connection, and each new one until `mend`."""
        self._is_cut = True
        for writer in self._ends:
            writer.transport.abort()

    def mend(self) -> None:
        self._is_cut = False

    async def _pipe(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counted: bool
    ) -> None:
        while data := await reader.read(1 << 16):
            if counted:
                self.received += len(data)
            writer.write(data)
            await writer.drain()
        if not writer.transport.is_closing():
            writer.write_eof()

    async def stop(self) -> None:
        if self._server:
            self._server.close()


def _extensions(head: bytes) -> str:
    found = EXTENSIONS.search(head)
    return found[1].decode() if found else ""
