#!/usr/bin/env python3
"""Makes deflate.json: real frames as Python's zlib compresses them for permessage-deflate."""

import itertools
import json
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent
WORKLOADS = HERE / "../../profiles/workloads"
FILES = ("tiny-chat", "chat-500", "cjk-chat", "escapes", "presence-10", "presence-100")
STRATEGIES = {"default": zlib.Z_DEFAULT_STRATEGY, "filtered": zlib.Z_FILTERED,
              "huffman": zlib.Z_HUFFMAN_ONLY, "rle": zlib.Z_RLE, "fixed": zlib.Z_FIXED}
# level, window bits, memory level, strategy
SETTINGS = ((6, 15, 8, "default"), (9, 15, 9, "default"), (1, 15, 8, "default"),
            (0, 15, 8, "default"), (6, 9, 1, "default"), (6, 12, 5, "default"),
            (6, 15, 8, "filtered"), (6, 15, 8, "huffman"), (6, 15, 8, "rle"), (6, 15, 8, "fixed"))
TAIL = b"\x00\x00\xff\xff"


def message(document, level, window_bits, memory, strategy, pieces, flush):
    """The payload of RFC 7692, section 7.2.1, written in pieces."""
    parts = []
    size = max(1, -(-len(document) // pieces))
    stream = None
    for at in range(0, len(document), size):
        if stream is None:
            stream = zlib.compressobj(level, zlib.DEFLATED, -window_bits, memory,
                                      STRATEGIES[strategy])
        parts.append(stream.compress(document[at:at + size]))
        parts.append(stream.flush(flush))
        if flush == zlib.Z_FINISH:
            stream = None
    payload = b"".join(parts)
    if flush == zlib.Z_FINISH:
        return payload + b"\x00"
    assert payload.endswith(TAIL)
    return payload[:-len(TAIL)]


def main():
    records = []
    for file, line in itertools.product(FILES, (0, 7)):
        document = (WORKLOADS / f"{file}.ndjson").read_bytes().split(b"\n")[line]
        ways = [(*setting, 1, zlib.Z_SYNC_FLUSH) for setting in SETTINGS]
        if len(document) < 2000:
            ways += [(6, 15, 8, "default", 4, flush)
                     for flush in (zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_FINISH)]
        elif line > 0:
            continue
        for way in ways:
            level, window_bits, memory, strategy, pieces, flush = way
            name = {zlib.Z_SYNC_FLUSH: "sync", zlib.Z_FULL_FLUSH: "full"}.get(flush, "finish")
            records.append({"file": file, "line": line, "level": level, "window_bits": window_bits,
                            "memory": memory, "strategy": strategy, "pieces": pieces,
                            "flush": name, "payload_hex": message(document, *way).hex()})
    head = {"made_by": "tests/vectors/deflate.py", "zlib": zlib.ZLIB_RUNTIME_VERSION}
    lines = ",\n".join(json.dumps(record) for record in records)
    text = json.dumps(head)[:-1] + ', "records": [\n' + lines + "\n]}\n"
    (HERE / "deflate.json").write_text(text)
    print(f"{len(records)} records")


if __name__ == "__main__":
    main()
