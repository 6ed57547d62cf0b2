#!/usr/bin/env python3
"""Makes the seed corpora, corpus/<target>/, from profiles/workloads and tests/vectors."""

import hashlib
import json
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


def text(value):
    value = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return value.encode("utf-8", "replace")


def main():
    frames = [*workload_frames(), *vector_inputs()]
    found = list(messages(frames))
    payloads = [text(message["payload"]) for message in found]
    headers = ("channelName", "event", "requestId")
    parts = [
        b"\xff".join([*(text(message.get(key, "")) for key in headers), payload])
        for message, payload in zip(found, payloads)
    ]
    corpora = {"tiers": frames, "parse": frames, "navigate": payloads, "round_trip": parts}
    for target, inputs in corpora.items():
        folder = FUZZ / "corpus" / target
        folder.mkdir(parents=True, exist_ok=True)
        for seed in inputs:
            (folder / hashlib.sha1(seed).hexdigest()).write_bytes(seed)
        print(f"{folder.relative_to(FUZZ)}: {len(set(inputs))} seeds")


if __name__ == "__main__":
    main()
