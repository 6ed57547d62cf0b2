"""The client that a case drives: the methods that cases call, over an asyncio socket.

It sends whatever the case asks for, valid or not, and is strict about what it receives.
"""

import asyncio
import base64
import hashlib
import os
import struct
import types
import zlib

from suite import WebSocketProtocol

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TAIL = b"\0\0\xff\xff"

# How long a server may take to drop the connection once both have closed; on a busy
# machine a second is not enough after 4 MiB.
DROP_SECONDS = 5
# The timeout for everything that no case limits by itself.
PATIENCE = 600


class Broken(Exception):
    """The server broke the protocol."""


def masked(data, mask):
    if len(data) < 4:
        return bytes(byte ^ mask[i] for i, byte in enumerate(data))
    key = int.from_bytes((mask * (len(data) // 4 + 1))[: len(data)], "big")
    return (int.from_bytes(data, "big") ^ key).to_bytes(len(data), "big")


def to_bytes(data):
    return data.encode("latin-1") if isinstance(data, str) else bytes(data)


class Peer(asyncio.Protocol):
    """One connection. The names in camel case are those that cases use."""

    CLOSE_STATUS_CODE_NORMAL = 1000
    CLOSE_STATUS_CODE_PROTOCOL_ERROR = 1002
    CLOSE_STATUS_CODE_INVALID_PAYLOAD = 1007

    def __init__(self, case, resource, takes_bytes):
        self.loop = asyncio.get_running_loop()
        self.done = self.loop.create_future()
        self.factory = types.SimpleNamespace(isServer=False)
        self.resource = resource
        self.takes_bytes = takes_bytes
        self.state = WebSocketProtocol.STATE_CONNECTING
        self.received = bytearray()
        self.timers = []
        self.message = None
        self.deflate = self.inflate = None
        self.server_keeps_context = self.client_keeps_context = True
        self.violation = None
        # Attributes that cases read and set.
        self.autoFragmentSize = 0
        self.txFrameStats = {}
        self.connectionWasOpen = self.wasClean = False
        self.closedByMe = self.failedByMe = self.droppedByMe = False
        self.localCloseReason = self.remoteCloseCode = None
        self.createWirelog = False
        self.trafficStats = None
        self._perMessageCompress = None
        self.perMessageCompressionOffers = []
        self.case = case(self)

    # Methods that asyncio calls.

    def connection_made(self, transport):
        self.transport = transport
        self.later(PATIENCE, self.failConnection)
        key = base64.b64encode(os.urandom(16))
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        self.accept = accept
        offers = ", ".join(offer.text() for offer in self.perMessageCompressionOffers)
        extensions = f"Sec-WebSocket-Extensions: {offers}\r\n" if offers else ""
        transport.write(
            f"GET {self.resource} HTTP/1.1\r\nHost: conformance\r\nConnection: Upgrade\r\n"
            f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n{extensions}"
            f"Sec-WebSocket-Key: {key.decode()}\r\n\r\n".encode()
        )

    def data_received(self, data):
        self.received += data
        try:
            if self.state == WebSocketProtocol.STATE_CONNECTING and not self.opened():
                return
            while self.state != WebSocketProtocol.STATE_CLOSED and self.frame():
                pass
        except Broken as violation:
            self.fail(str(violation))
        except Exception as error:
            # An error in the case or in this file, which no answer of the server causes.
            self.fail(repr(error))

    def fail(self, why):
        self.violation = why
        self.failConnection()

    def connection_lost(self, error):
        self.state = WebSocketProtocol.STATE_CLOSED
        for timer in self.timers:
            timer.cancel()
        self.case.onConnectionLost(self.failedByMe)
        if not self.done.done():
            self.done.set_result(None)

    # Receiving.

    def opened(self):
        head, found, rest = bytes(self.received).partition(b"\r\n\r\n")
        if not found:
            return False
        lines = head.split(b"\r\n")
        headers = dict(line.lower().split(b": ", 1) for line in lines[1:])
        if not lines[0].startswith(b"HTTP/1.1 101 "):
            raise Broken(lines[0].decode())
        if headers[b"sec-websocket-accept"] != self.accept.lower():
            raise Broken("the key is not accepted")
        extensions = headers.get(b"sec-websocket-extensions")
        if extensions:
            self.agree(extensions.decode())
        self.received = bytearray(rest)
        self.state = WebSocketProtocol.STATE_OPEN
        self.connectionWasOpen = True
        self.case.onOpen()
        return True

    def agree(self, extensions):
        name, *parameters = [part.strip() for part in extensions.split(";")]
        if name != "permessage-deflate" or not self.perMessageCompressionOffers:
            raise Broken(f"an extension that was not offered: {extensions}")
        self._perMessageCompress = parameters
        agreed = dict((parameter + "=").split("=")[:2] for parameter in parameters)
        bits = int(agreed.get("client_max_window_bits") or 15)
        # zlib does not do raw windows of 2^8 bytes.
        self.make_deflate = lambda: zlib.compressobj(6, zlib.DEFLATED, -max(bits, 9))
        self.make_inflate = lambda: zlib.decompressobj(
            -max(int(agreed.get("server_max_window_bits") or 15), 9)
        )
        self.client_keeps_context = "client_no_context_takeover" not in agreed
        self.server_keeps_context = "server_no_context_takeover" not in agreed
        self.deflate, self.inflate = self.make_deflate(), self.make_inflate()

    def frame(self):
        """Takes the next frame, if all of it is there."""
        data = self.received
        if len(data) < 2:
            return False
        first, length = data[0], data[1]
        if length & 0x80:
            raise Broken("a masked frame")
        start = 2
        if length > 125:
            start = 4 if length == 126 else 10
            if len(data) < start:
                return False
            length = int.from_bytes(data[2:start], "big")
        if len(data) < start + length:
            return False
        payload = bytes(data[start : start + length])
        del data[: start + length]
        is_last, rsv, opcode = first & 0x80, first & 0x70, first & 0x0F
        if opcode in (8, 9, 10):
            if rsv or not is_last or length > 125:
                raise Broken("an invalid control frame")
            self.control(opcode, payload)
        elif opcode in (0, 1, 2):
            self.fragment(is_last, rsv, opcode, payload)
        else:
            raise Broken(f"opcode {opcode}")
        return True

    def fragment(self, is_last, rsv, opcode, payload):
        if (opcode == 0) != (self.message is not None):
            raise Broken("a fragment out of order")
        if opcode:
            if rsv not in ((0, 0x40) if self.inflate else (0,)):
                raise Broken("a reserved bit")
            self.message = (opcode, rsv, [])
        elif rsv:
            raise Broken("a reserved bit")
        kind, compressed, parts = self.message
        parts.append(payload)
        if not is_last:
            return
        self.message = None
        data = b"".join(parts)
        if compressed:
            if not self.server_keeps_context:
                self.inflate = self.make_inflate()
            data = self.inflate.decompress(data + TAIL)
        if kind == 1:
            try:
                data.decode()
            except UnicodeDecodeError:
                raise Broken("text that is not UTF-8") from None
        if self.state == WebSocketProtocol.STATE_OPEN:
            data = data if self.takes_bytes else data.decode("latin-1")
            self.case.onMessage(data, kind == 2)

    def control(self, opcode, payload):
        if opcode == 8:
            if len(payload) == 1:
                raise Broken("half a close code")
            if payload:
                self.remoteCloseCode = struct.unpack(">H", payload[:2])[0]
                payload[2:].decode()
            self.wasClean = True
            if self.state == WebSocketProtocol.STATE_CLOSING:
                self.later(DROP_SECONDS, self.not_dropped)
            else:
                self.write_frame(8, payload[:2])
                self.state = WebSocketProtocol.STATE_CLOSING
                self.later(DROP_SECONDS, self.not_dropped)
            self.case.onClose(self.wasClean, self.remoteCloseCode, payload[2:])
        elif self.state == WebSocketProtocol.STATE_OPEN:
            if opcode == 9:
                # Cases are not notified, as with the suite's own client.
                self.write_frame(10, payload)
            else:
                self.case.onPong(payload.decode("latin-1"))

    def not_dropped(self):
        self.droppedByMe = True
        self.wasClean = False
        self.transport.abort()

    # Methods that cases call.

    def later(self, seconds, call):
        def guarded():
            try:
                call()
            except Exception as error:
                self.fail(repr(error))

        self.timers.append(self.loop.call_later(seconds, guarded))

    def is_alive(self):
        return self.state != WebSocketProtocol.STATE_CLOSED

    def continueLater(self, delay, call, tag=None):
        self.later(delay, lambda: call() if self.is_alive() else None)

    def closeAfter(self, delay):
        self.later(delay, self.sendClose)

    def killAfter(self, delay):
        self.later(delay, self.failConnection)

    def failConnection(self):
        if self.is_alive():
            self.failedByMe = self.droppedByMe = True
            self.wasClean = False
            self.transport.abort()

    def enableWirelog(self, _):
        pass

    def sendFrame(
        self,
        opcode,
        payload="",
        fin=True,
        rsv=0,
        mask=None,
        payload_len=None,
        chopsize=None,
        sync=False,
    ):
        payload = to_bytes(payload)
        if payload_len is not None and payload:
            payload = (payload * (payload_len // len(payload) + 1))[:payload_len]
        self.write_frame(opcode, payload, fin, rsv, chopsize)

    def head(self, opcode, length, fin=True, rsv=0):
        first = (0x80 if fin else 0) | rsv << 4 | opcode
        if length < 126:
            head = struct.pack(">BB", first, 0x80 | length)
        elif length < 1 << 16:
            head = struct.pack(">BBH", first, 0x80 | 126, length)
        else:
            head = struct.pack(">BBQ", first, 0x80 | 127, length)
        return head

    def write_frame(self, opcode, payload, fin=True, rsv=0, chopsize=None):
        mask = os.urandom(4)
        frame = self.head(opcode, len(payload), fin, rsv) + mask + masked(payload, mask)
        step = chopsize or len(frame)
        for at in range(0, len(frame), step):
            self.transport.write(frame[at : at + step])
        self.txFrameStats[opcode] = self.txFrameStats.get(opcode, 0) + 1

    def sendMessage(self, payload, isBinary=False, fragmentSize=None):
        payload, rsv = to_bytes(payload), 0
        if self.deflate:
            if not self.client_keeps_context:
                self.deflate = self.make_deflate()
            payload = self.deflate.compress(payload) + self.deflate.flush(zlib.Z_SYNC_FLUSH)
            payload, rsv = payload[: -len(TAIL)], 4
        opcode = 2 if isBinary else 1
        step = fragmentSize or self.autoFragmentSize or max(len(payload), 1)
        for at in range(0, max(len(payload), 1), step):
            is_last = at + step >= len(payload)
            self.write_frame(opcode, payload[at : at + step], is_last, rsv)
            opcode = rsv = 0

    # Messages whose frames are sent in pieces.

    def beginMessage(self, isBinary=False):
        self.streamed = 2 if isBinary else 1

    def beginMessageFrame(self, length):
        self.mask, self.sent = os.urandom(4), 0
        self.transport.write(self.head(self.streamed, length, fin=False) + self.mask)
        self.streamed = 0

    def sendMessageFrameData(self, data, sync=False):
        data = to_bytes(data)
        turn = self.sent % 4
        self.transport.write(masked(data, self.mask[turn:] + self.mask[:turn]))
        self.sent += len(data)

    def endMessage(self):
        self.write_frame(0, b"")

    # Closing.

    def sendClose(self, code=None, reason=None):
        if self.state == WebSocketProtocol.STATE_OPEN:
            self.sendCloseFrame(code, reason and reason.encode())

    def sendCloseFrame(self, code=None, reasonUtf8=None, isReply=False):
        payload = b"" if code is None else struct.pack(">H", code)
        self.localCloseReason = reasonUtf8
        self.closedByMe = True
        self.state = WebSocketProtocol.STATE_CLOSING
        self.write_frame(8, payload + to_bytes(reasonUtf8 or b""))
