"""Python's verdict on each frame: `reference.py FRAMES ANSWERS`, the twin of reference.mjs.

    {id, ok, stage, path, message, same, snake, constant}

`stage` is the stage at which Python refused: utf8, json, digits, recursion or schema. `same`, when both
accepted, is whether the five fields are equal as Python values: integers exactly, 1 is not 1.0, the
order of keys does not count. `snake`: a snake_case key stands in for a missing camelCase one.
`constant`: the frame has a NaN or an Infinity.
"""

from __future__ import annotations

import json
import sys
from enum import Enum
from typing import Any

from pondsocket_common import (
    ValidationError,
    parse_channel_event,
    parse_client_message,
    parse_presence_message,
    parse_server_message,
)

PARSES = {
    "client": parse_client_message,
    "server": parse_server_message,
    "presence": parse_presence_message,
    "channelEvent": parse_channel_event,
}
SNAKE = {"request_id": "requestId", "channel_name": "channelName"}


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, Enum):
        a = a.value
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(equal, a, b))
    return repr(a) == repr(b) if isinstance(a, float) else a == b


def as_parsed(value: dict[str, Any]) -> dict[str, Any]:
    """pondwire keeps a payload as it came; the packages keep two keys of a presence payload."""
    if value["action"] != "PRESENCE":
        return value
    payload = {key: value["payload"][key] for key in ("presence", "changed")}
    return {**value, "payload": payload}


def verdict(frame: dict[str, str], answer: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {"id": frame["id"], "ok": False, "same": None}
    constants: list[str] = []

    def refused(stage: str, error: Exception, path: str | None = None) -> dict[str, Any]:
        message = str(error).removeprefix(f"{path}: ")
        return {**out, "stage": stage, "path": path, "message": message}

    try:
        text = frame.get("input_utf8")
        if text is None:
            text = bytes.fromhex(frame["input_hex"]).decode()
        value = json.loads(text, parse_constant=constants.append)
    except UnicodeDecodeError as error:
        return refused("utf8", error)
    except json.JSONDecodeError as error:
        return refused("json", error)
    except ValueError as error:
        return refused("digits", error)
    except RecursionError as error:
        return refused("recursion", error)
    out["constant"] = bool(constants)
    out["snake"] = isinstance(value, dict) and any(
        snake in value and camel not in value for snake, camel in SNAKE.items()
    )
    try:
        message = PARSES[frame["parse"]](value)
    except ValidationError as error:
        return refused("schema", error, error.path)
    out["ok"] = True
    if answer["ok"]:
        out["same"] = equal(message.model_dump(by_alias=True), as_parsed(answer["value"]))
    return out


def read(line: bytes) -> Any:
    """Parses a line of `inspect`, which may hold integers that Python refuses by default."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        return json.loads(line)
    finally:
        sys.set_int_max_str_digits(limit)


def main() -> None:
    with open(sys.argv[1], "rb") as frames, open(sys.argv[2], "rb") as answers:
        for frame, answer in zip(frames, answers, strict=True):
            print(json.dumps(verdict(read(frame), read(answer))))


if __name__ == "__main__":
    main()
