#!/usr/bin/env python3
"""What Redis spends on a publish and on each delivery of it: `profiles/redis_cost.py`, half a minute.

Starts a redis-server (Debian's) without persistence on a loopback port, subscribes so many connections
to one topic, publishes to it one message at a time or 64, and reads the server's CPU time from /proc.
"""

import select
import socket
import subprocess
import tempfile
import threading
import time

TOPIC = b"pondsocket:v1:default:api/socket:/chat/1"
MESSAGES = {1: 20_000, 10: 10_000, 100: 2_000}


def command(*parts: bytes) -> bytes:
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)


def cpu(pid: int) -> float:
    """Seconds of the main thread, which does everything here."""
    with open(f"/proc/{pid}/schedstat") as times:
        return int(times.read().split()[0]) / 1e9


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def connect(port: int) -> socket.socket:
    for _ in range(100):
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise SystemExit("redis-server does not listen")


def run(pid: int, port: int, subscribers: int, size: int, at_once: int) -> None:
    count = MESSAGES[subscribers] // at_once * at_once
    sockets = {}
    poll = select.epoll()
    for _ in range(subscribers):
        one = connect(port)
        one.sendall(command(b"SUBSCRIBE", TOPIC))
        one.recv(1000)
        one.setblocking(False)
        sockets[one.fileno()] = one
        poll.register(one.fileno(), select.EPOLLIN)
    # *3, $7 message, the topic and the payload, each with its length and line ends.
    delivery = len(command(b"message", TOPIC, b"x" * size))
    wanted = subscribers * count * delivery
    received = 0

    def drain() -> None:
        nonlocal received
        while received < wanted:
            for number, _ in poll.poll(1):
                received += len(sockets[number].recv(1 << 20))

    reader = threading.Thread(target=drain)
    reader.start()
    publisher = connect(port)
    batch = command(b"PUBLISH", TOPIC, b"x" * size) * at_once
    before = cpu(pid)
    for _ in range(count // at_once):
        publisher.sendall(batch)
        answers = 0
        while answers < at_once:
            answers += publisher.recv(1 << 16).count(b":")
    reader.join()
    spent = (cpu(pid) - before) / count * 1e6
    each = spent / subscribers
    print(f"| {subscribers} | {size} | {at_once} | {delivery} | {spent:.1f} | {each:.2f} |", flush=True)
    for one in [publisher, *sockets.values()]:
        one.close()


def main() -> None:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        server = subprocess.Popen(
            ["redis-server", *options], cwd=folder, stdout=subprocess.DEVNULL
        )
        try:
            connect(port).close()
            print("| subscribers | payload B | at once | delivery B | CPU us a publish | us a delivery |")
            print("|---:|---:|---:|---:|---:|---:|")
            for subscribers in MESSAGES:
                for size in (430, 4380):
                    for at_once in (1, 64):
                        run(server.pid, port, subscribers, size, at_once)
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
