"""What a WebSocket costs in examples/axum beside server/examples/server: connecting, being there, a delivery.

    cargo build --release --example server && cargo build --release -p pondwire-axum-example
    python3 profiles/axum_cost.py target/release/examples/server \
        target/release/pondwire-axum-example

It starts each in turns, opens connections that join one channel, lets one of them speak, and reads the
process's time and memory from /proc. Ports of 127.0.0.1 only.
"""

import json
import os
import selectors
import socket
import statistics
import subprocess
import sys

CLIENTS, MESSAGES, ROUNDS = 500, 100, 5
HANDSHAKE = (
    b"GET /api/socket HTTP/1.1\r\nHost: cost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def frame(action, event, payload):
    message = {"action": action, "channelName": "/chat/cost", "requestId": "r-1", "event": event}
    data = json.dumps(message | {"payload": payload}).encode()
    size = len(data)
    length = bytes([0x80 | size]) if size < 126 else b"\xFE" + size.to_bytes(2, "big")
    return b"\x81" + length + bytes(4) + data


def cpu(pid):
    """Seconds in user and kernel, by the scheduler's count."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat") as file:
            total += int(file.read().split()[0])
    return total / 1e9


def resident(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def read_until(connection, end):
    data = b""
    while end not in data:
        more = connection.recv(65536)
        assert more, "the server closed"
        data += more
    return data


def run(binary):
    process = subprocess.Popen([binary, "--addr", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True)
    try:
        port = int(process.stdout.readline().rsplit(":", 1)[1])
        pid, clients = process.pid, []
        before, memory = cpu(pid), resident(pid)
        for _ in range(CLIENTS):
            client = socket.create_connection(("127.0.0.1", port))
            client.sendall(HANDSHAKE)
            read_until(client, b"CONNECTION")
            client.sendall(frame("JOIN_CHANNEL", "JOIN_CHANNEL", {}))
            read_until(client, b"ACKNOWLEDGE")
            clients.append(client)
        joined, held = cpu(pid), resident(pid)
        selector = selectors.DefaultSelector()
        for client in clients:
            client.setblocking(False)
            selector.register(client, selectors.EVENT_READ)
        say = frame("BROADCAST", "say", {"text": "x" * 64})
        size = None
        for _ in range(MESSAGES):
            clients[0].setblocking(True)
            clients[0].sendall(say)
            if size is None:
                size = len(clients[0].recv(65536))
                left = (CLIENTS - 1) * size
            else:
                left = CLIENTS * size
            clients[0].setblocking(False)
            while left > 0:
                for key, _ in selector.select():
                    left -= len(key.fileobj.recv(65536))
        spoken = cpu(pid)
        for client in clients:
            client.close()
        return {
            "µs to connect and join": (joined - before) / CLIENTS * 1e6,
            "bytes per connection": (held - memory) / CLIENTS,
            "µs per delivery": (spoken - joined) / CLIENTS / MESSAGES * 1e6,
        }
    finally:
        process.kill()
        process.wait()


def main():
    binaries = sys.argv[1:]
    results = {binary: [] for binary in binaries}
    for _ in range(ROUNDS):
        for binary in binaries:
            results[binary].append(run(binary))
    print(f"{CLIENTS} connections, {MESSAGES} messages, median of {ROUNDS} (least to most)")
    for binary, rounds in results.items():
        print(os.path.basename(binary))
        for figure in rounds[0]:
            values = sorted(round[figure] for round in rounds)
            median = statistics.median(values)
            print(f"  {figure}: {median:.2f} ({values[0]:.2f} to {values[-1]:.2f})")


if __name__ == "__main__":
    main()
