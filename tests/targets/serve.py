#!/usr/bin/env python3
"""Starts an example server for any target, and drives it with two clients: one joins, the other joins and
broadcasts, both must get what PondSocket promises, and the server must end on SIGTERM.

    tests/targets/serve.py COMMAND [ARGUMENT…]     the last words start the server, e.g. under an emulator

It needs only Python's standard library, so that a bare machine can run it.
"""

import base64
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys

CHANNEL = "/chat/targets"
PATIENCE = 60


class Client:
    """A minimal WebSocket, limited to text frames of less than 64 KiB."""

    def __init__(self, address):
        self.socket = socket.create_connection(address, timeout=PATIENCE)
        self.received = b""
        key = base64.b64encode(os.urandom(16))
        self.socket.sendall(
            b"GET /api/socket HTTP/1.1\r\nHost: %b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: %b\r\nSec-WebSocket-Version: 13\r\n\r\n" % (address[0].encode(), key)
        )
        while b"\r\n\r\n" not in self.received:
            self.receive()
        head, self.received = self.received.split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 101 "), head
        guid = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key + guid).digest())
        headers = (line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
        assert {name.lower(): value for name, value in headers}[b"sec-websocket-accept"] == accept, head

    def receive(self):
        some = self.socket.recv(65536)
        assert some, "the server closed the connection"
        self.received += some

    def bytes(self, count):
        while len(self.received) < count:
            self.receive()
        taken, self.received = self.received[:count], self.received[count:]
        return taken

    def send(self, request_id, action, event, payload):
        message = {
            "action": action,
            "event": event,
            "channelName": CHANNEL,
            "requestId": request_id,
            "payload": payload,
        }
        text, mask = json.dumps(message).encode(), os.urandom(4)
        masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(text))
        length = bytes([0x80 | len(text)]) if len(text) < 126 else b"\xfe" + len(text).to_bytes(2, "big")
        self.socket.sendall(b"\x81" + length + mask + masked)

    def next(self):
        first, length = self.bytes(2)
        assert first == 0x81, f"a text frame in one piece, not {first:#x}"
        if length == 126:
            length = int.from_bytes(self.bytes(2), "big")
        return json.loads(self.bytes(length))

    def until(self, event):
        """The next message of this event; skips presence and the greeting."""
        while True:
            message = self.next()
            if message["event"] == event:
                return message


def main():
    server = subprocess.Popen([*sys.argv[1:], "--addr", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True)
    try:
        line = server.stdout.readline()
        assert line.startswith("listening on http://"), repr(line)
        host, port = line.strip().removeprefix("listening on http://").rsplit(":", 1)
        listener, speaker = Client((host, int(port))), Client((host, int(port)))
        for number, client in enumerate((listener, speaker)):
            client.send(f"join-{number}", "JOIN_CHANNEL", "JOIN_CHANNEL", {"username": f"user {number}"})
            joined = client.until("ACKNOWLEDGE")
            assert joined["requestId"] == f"join-{number}", joined
            assert joined["channelName"] == CHANNEL, joined
        # Beyond ASCII, escaped, nested, and longer than the shortest frames.
        payload = {"text": 'ü€𐍈 "\\\n' * 40, "list": [1, -2.5e3, None, True, {"a": []}]}
        speaker.send("say-1", "BROADCAST", "say", payload)
        for client in (listener, speaker):
            said = client.until("say")
            assert said["action"] == "BROADCAST" and said["channelName"] == CHANNEL, said
            assert said["payload"] == payload, said
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE) == 0, server.returncode
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()
    print("two clients joined, one broadcast reached both, the server ended on SIGTERM")


main()
