#!/usr/bin/env python3
"""Makes the seeds, found/<target>/, from profiles/workloads and tests/vectors."""

import hashlib
import itertools
import json
import zlib
from pathlib import Path

FUZZ = Path(__file__).resolve().parent
LONGEST = 1500
EVERY = 8  # the frames of a workload are much alike


def workload_frames():
    for file in sorted((FUZZ / "../profiles/workloads").glob("*.ndjson")):
        frames = [line for line in file.read_bytes().split(b"\n") if 0 < len(line) <= LONGEST]
        yield from frames[::EVERY]


def vector_inputs():
    for file in sorted((FUZZ / "../tests/vectors").glob("parse_*.json")):
        for record in json.loads(file.read_bytes())["records"]:
            text = record.get("input_utf8")
            frame = bytes.fromhex(record["input_hex"]) if text is None else text.encode()
            if len(frame) <= LONGEST:
                yield frame


def messages(frames):
    """Those that Python, too, takes for an object with a payload."""
    for frame in frames:
        try:
            message = json.loads(frame)
        except ValueError:
            continue
        if isinstance(message, dict) and isinstance(message.get("payload"), dict):
            yield message


def written(payload):
    """As JavaScript, as Python and as people write it."""
    yield json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
    yield json.dumps(payload)
    yield json.dumps(payload, indent=1).replace("\n", "\r\n")


def encode(text):
    return text.encode("utf-8", "replace")  # half of a surrogate pair becomes "?"


def compressed(frames):
    """As permessage-deflate has it, behind a limit of 64 KB and a level."""
    for number, frame in enumerate(frames):
        level = number % 10
        stream = zlib.compressobj(level, zlib.DEFLATED, -15)
        payload = stream.compress(frame) + stream.flush(zlib.Z_SYNC_FLUSH)
        yield bytes([16, level]) + payload[:-4]


def envelopes():
    records = json.loads((FUZZ / "../tests/vectors/distributed.json").read_bytes())["records"]
    for record in records:
        text = record.get("bytes" if record["kind"] == "envelope" else "input")
        if text is not None:
            yield text.encode()


def extension_headers():
    parameters = ["", "client_max_window_bits", "client_max_window_bits=10",
                  "server_max_window_bits=15", 'server_max_window_bits="12"',
                  "server_no_context_takeover", "client_no_context_takeover", "x=y"]
    for pair in itertools.product(parameters, repeat=2):
        offer = "; ".join(["permessage-deflate", *filter(None, pair)])
        yield from (offer.encode(), f"foo;a=1 , {offer},permessage-deflate".encode())


def client_frame(first, payload, mask=b"\x37\xfa\x21\x3d"):
    length = len(payload)
    head = bytes([first, 0x80 | length]) if length < 126 else bytes([first, 0xFE]) + length.to_bytes(2, "big")
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def sessions(frames):
    """What a client sends, behind a limit of 4 KB, with and without compression, and a step."""
    for number, frame in enumerate(frames):
        half = len(frame) // 2
        sent = [client_frame(0x81, frame), client_frame(0x01, frame[:half]), client_frame(0x89, b"ping"),
                client_frame(0x80, frame[half:]), client_frame(0xC2, frame), client_frame(0x8A, b""),
                client_frame(0x88, b"\x03\xe8bye")]
        yield bytes([(number % 2) << 7 | 12, number % 256]) + b"".join(sent[number % 7:])


def main():
    frames = [*workload_frames(), *vector_inputs()]
    payloads, parts = [], []
    for message in messages(frames):
        header = [str(message.get(key, "")) for key in ("channelName", "event", "requestId")]
        for payload in map(encode, written(message["payload"])):
            payloads.append(payload)
            parts.append(b"\xff".join([*map(encode, header), payload]))
    corpora = {"tiers": frames, "parse": frames, "navigate": payloads, "round_trip": parts,
               "inflate": list(compressed(frames)), "extensions": list(extension_headers()),
               "envelope": list(envelopes()), "websocket": list(sessions(frames[::8]))}
    for target, inputs in corpora.items():
        folder = FUZZ / "found" / target
        folder.mkdir(parents=True, exist_ok=True)
        for seed in inputs:
            (folder / hashlib.sha1(seed).hexdigest()).write_bytes(seed)
        print(f"{folder.relative_to(FUZZ)}: {len(set(inputs))} seeds")


if __name__ == "__main__":
    main()
