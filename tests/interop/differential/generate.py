"""Generates frames: `generate.py [--seed N] [--count N]` writes NDJSON, the same for the same seed.

A line is `{"id": "<number> <family>", "parse", "input_utf8" | "input_hex"}`. Frames are composed as
text, not serialized from a value: duplicate keys, odd numbers and escapes have no value to be
serialized from. Every frame is drawn from its own generator, so it does not depend on the count.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from random import Random

from pieces import (
    ACTIONS,
    LETTERS,
    PRESENCE_EVENTS,
    SPACES,
    UNICODE,
    array,
    around,
    message,
    number,
    payload,
    presence_payload,
    render,
    replace,
    shape_of,
    string,
    value,
    words,
)

PARSES = ["client", "server", "presence", "channelEvent"]
HEADERS = ["event", "requestId", "channelName"]
LONE_SURROGATES = [
    r"\ud800",
    r"\uDBFF",
    r"\udc00",
    r"\uDFFF",
    r"\udc00\ud800",
    r"\ud83d\ud83d\ude00",
    r"\ud83dx\ude00",
    r"\ud83d\n\ude00",
]
BAD_TOKENS = """
    NaN Infinity -Infinity nan inf 01 -01 00 1. .5 -.5 +1 - 1e 1e+ 1.e5 0x10 1_000 1f --1 1e5.5
    tru fals nul True None undefined TRUE nulll truefalse 'x' "x `x` [1,] [,1] {"a":1,} {,} {"a"}
    {"a":} {a:1} {1:2} {"a"1} [1"2"] ["a":1] [} {] [ { ] } // /**/ # \\ "\\x41" "\\u12" "\\u12G4"
    "\\" "\\ud83d\\u" "\\U0041" "\\'"
""".split()
BAD_UTF8 = [
    bytes.fromhex(h)
    for h in """
    80 bf c0 c1 c080 c1bf c2 c3 e0 e080 e08080 e09fbf e0a0 eda080 edbfbf eda080edb080 ef efbf bfbf
    f0 f0808080 f08fbfbf f09f f09f98 f4908080 f5808080 f8888080 fc fe ff fffe feff c328 e228a1 e28228
    f0288cbc
    """.split()
]
NOT_A_STRING = ["null", "true", "false", "0", "-1.5", "[]", '["a"]', "{}", '{"a":"b"}', "1e400"]
NOT_AN_OBJECT = ["null", "true", "false", "0", "1.5", '""', '"text"', "[]", "[{}]", "[1,2]"]
NOT_A_LIST = ["null", "true", "0", '"text"', "{}", '{"0":{}}']
NOT_SPACES = ["\u00a0", "\x0b", "\x0c", "\u2028", "\ufeff", "\u3000", "\x00", "\u0085"]
ODD_KEYS = """
    __proto__ constructor toString length 0 10 2 nodeId Action ACTION channelname payloa actionx
""".split()


def valid(r: Random, parse: str) -> str:
    return around(r, render(r, message(r, shape_of(r, parse))))


def unknown_keys(r: Random, parse: str) -> str:
    fields = message(r, shape_of(r, parse))
    for _ in range(r.choice([1, 1, 2, 10])):
        key = r.choice([*ODD_KEYS, "", " ", words(r)])
        fields.insert(r.randint(0, len(fields)), (key, value(r)))
    return render(r, fields)


def missing(r: Random, parse: str) -> str:
    fields = message(r, shape_of(r, parse))
    for _ in range(r.choice([1, 1, 1, 2, 3, 5])):
        fields.pop(r.randrange(len(fields)))
    return render(r, fields)


def wrong_type(r: Random, parse: str) -> str:
    fields = message(r, shape_of(r, parse))
    for _ in range(r.choice([1, 1, 1, 2, 3])):
        key = r.choice([k for k, _ in fields])
        fields = replace(fields, key, r.choice(NOT_AN_OBJECT if key == "payload" else NOT_A_STRING))
    if r.random() < 0.3:
        fields.pop(r.randrange(len(fields)))
    return render(r, fields)


def duplicates(r: Random, parse: str) -> str:
    """The last one wins: mostly one of the two is bad."""
    fields = message(r, shape_of(r, parse))
    for _ in range(r.choice([1, 1, 2, 4])):
        key, good = r.choice(fields)
        extra = r.choice([good, r.choice(NOT_A_STRING), value(r)])
        fields.insert(r.randint(0, len(fields)), (key, extra))
    return render(r, fields)


def snake_case(r: Random, parse: str) -> str:
    fields = message(r, shape_of(r, parse))
    names = {"requestId": "request_id", "channelName": "channel_name"}
    for key in r.sample(list(names), r.choice([1, 2])):
        snake = (names[key], r.choice([string(r, words(r)), r.choice(NOT_A_STRING)]))
        if r.random() < 0.5:
            fields.insert(r.randint(0, len(fields)), snake)  # beside the right one
        else:
            fields = [snake if k == key else (k, v) for k, v in fields]
    return render(r, fields)


def enums(r: Random, parse: str) -> str:
    shape = shape_of(r, parse)
    fields = message(r, shape)
    every = [action for actions in ACTIONS.values() for action in actions]
    wrong = [*every, *PRESENCE_EVENTS, "", "broadcast", "BROADCAST ", "BROADCASTS", "Join", "PING"]
    keys = ["action", "event"] if shape == "presence" else ["action"]
    for key in r.sample(keys, r.randint(1, len(keys))):
        text = r.choice([string(r, r.choice(wrong)), string(r, words(r)), r.choice(NOT_A_STRING)])
        fields = replace(fields, key, text)
    return render(r, fields)


def other_shape(r: Random, parse: str) -> str:
    """A good message for another parse."""
    return render(r, message(r, r.choice(list(ACTIONS))))


def presence_items(r: Random, parse: str) -> str:
    items = [payload(r) for _ in range(r.choice([0, 1, 2, 5]))]
    items += ["{}"] * r.choice([0, 0, 0, 120])
    for _ in range(r.choice([0, 1, 2])):
        items.insert(r.randint(0, len(items)), r.choice(NOT_AN_OBJECT))
    changed = r.choice([None, payload(r), r.choice(NOT_AN_OBJECT)])
    text = presence_payload(r, items, changed)
    style = r.random()
    if style < 0.15:
        text = render(r, [("presence", r.choice(NOT_A_LIST)), ("changed", changed or "{}")])
    elif style < 0.3:
        text = render(r, [(r.choice(["presence", "changed"]), r.choice(["[]", "{}", "null"]))])
    elif style < 0.4:
        twice = [("presence", array(r, items)), ("changed", "{}"), ("presence", "[]")]
        r.shuffle(twice)
        text = render(r, twice)
    return render(r, replace(message(r, "presence"), "payload", text))


def numbers(r: Random, parse: str) -> str:
    items = [number(r) for _ in range(r.choice([1, 5, 40]))]
    if r.random() < 0.04:
        items.append(r.choice(["", "-"]) + "9" * r.choice([4299, 4300, 4301, 20_000]))
    return with_payload(r, parse, array(r, items))


def unicode(r: Random, parse: str) -> str:
    fields = message(r, shape_of(r, parse))
    key, _ = r.choice(fields)
    text = "".join(r.choices(UNICODE, k=r.choice([1, 3, 20, 70, 300])))
    if key == "payload":
        return with_payload(r, parse, string(r, text))
    return render(r, replace(fields, key, string(r, text)))


def lone_surrogates(r: Random, parse: str) -> str:
    """In a header, in the payload, in a key, or overwritten by a later duplicate."""
    fields = message(r, shape_of(r, parse))
    around_it = "".join(r.choices(LETTERS, k=r.choice([0, 1, 20])))
    bad = f'"{around_it}{r.choice(LONE_SURROGATES)}{around_it}"'
    where = r.random()
    if where < 0.5:
        key = r.choice([*HEADERS, *HEADERS, "action"])
        fields = replace(fields, key, bad)
        if where < 0.1:
            fields.append((key, string(r, words(r))))
    elif where < 0.8:
        return with_payload(r, parse, r.choice([bad, f"{{{bad}:{bad}}}"]))
    else:
        frame = render(r, fields)
        return f"{frame[:-1]},{bad}:{value(r)}}}"
    if r.random() < 0.2:
        fields.pop(r.randrange(len(fields)))
    return render(r, fields)


def nesting(r: Random, parse: str) -> str:
    """Around pondwire's limit of 127 brackets, the frame's own included, and around Python's."""
    levels = r.choice([*range(120, 134), *range(120, 134), 1, 64, 200, 985, 995, 1_005, 5_000])
    kinds = r.choice([["["], ["{"], ["[", "{"]])
    openers = [r.choice(kinds) for _ in range(levels)]
    text = "".join("[" if o == "[" else '{"a":' for o in openers)
    text += r.choice(["1", '"]}[{"', "null"])
    text += "".join("]" if o == "[" else "}" for o in reversed(openers))
    if r.random() < 0.1:
        text = text[: r.randrange(len(text))]
    if r.random() < 0.2:
        fields = message(r, shape_of(r, parse))
        return render(r, [*fields, ("extra", text)])
    return with_payload(r, parse, text)


def with_payload(r: Random, parse: str, inner: str) -> str:
    """A valid message whose payload has this value somewhere."""
    shape = shape_of(r, parse)
    holder = render(r, [(words(r, 4), inner)])
    text = presence_payload(r, [holder]) if shape == "presence" else holder
    return render(r, replace(message(r, shape), "payload", text))


def not_an_object(r: Random, parse: str) -> str:
    text = r.choice(["", " ", "[]", "[{}]", "{}", '""', "null", "true", "1", "-1.5e3", value(r)])
    return around(r, text if r.random() < 0.8 else array(r, [valid(r, parse)]))


def bad_tokens(r: Random, parse: str) -> str:
    """A token that is not JSON in the place of a value."""
    token = r.choice(BAD_TOKENS)
    if r.random() < 0.5:
        return with_payload(r, parse, token)
    fields = message(r, shape_of(r, parse))
    return render(r, replace(fields, r.choice(fields)[0], token))


def bad_surroundings(r: Random, parse: str) -> str:
    frame = valid(r, parse)
    tail = r.choice(["{}", ",", "}", "]", "x", "0", '"', "//", "\n{}", *NOT_SPACES])
    if r.random() < 0.5:
        return r.choice([*NOT_SPACES, ",", "[", "//\n"]) + frame
    at = r.choice([len(frame), len(frame), frame.find(":"), frame.find(",")])
    return frame[:at] + tail + frame[at:]


def mutations(r: Random, parse: str) -> bytes:
    """A frame with a few bytes flipped, inserted, deleted, copied, or its end cut off."""
    frame = bytearray(r.choice([valid, valid, unknown_keys, numbers])(r, parse).encode())
    structural = b'{}[]",:\\ \n0123456789eE.+-tfnu/'
    for _ in range(r.choice([1, 1, 1, 2, 3])):
        at = r.randrange(len(frame)) if frame else 0
        match r.choice(["flip", "set", "insert", "insert", "delete", "delete", "copy", "cut"]):
            case "flip" if frame:
                frame[at] ^= 1 << r.randrange(8)
            case "set" if frame:
                frame[at] = r.choice(structural)
            case "insert":
                frame.insert(at, r.choice(structural))
            case "delete":
                del frame[at : at + r.choice([1, 1, 2, 8])]
            case "copy":
                frame[at:at] = frame[at : at + r.randint(1, 12)]
            case "cut":
                del frame[at:]
    return bytes(frame)


def truncations(r: Random, parse: str) -> bytes:
    frame = valid(r, parse).encode()
    return frame[: r.choice([r.randrange(len(frame)), max(0, len(frame) - r.randint(1, 8))])]


def bad_utf8(r: Random, parse: str) -> bytes:
    frame = valid(r, parse).encode()
    if r.random() < 0.7:  # inside a string
        quotes = [i + 1 for i, byte in enumerate(frame) if byte == ord('"')]
        at = r.choice(quotes)
    else:
        at = r.randint(0, len(frame))
    return frame[:at] + r.choice(BAD_UTF8) + frame[at:]


def sizes(r: Random, parse: str) -> str:
    """Around the size limit of 1 MiB; the limit itself is allowed."""
    wanted = (1 << 20) + r.choice([-1, 0, 0, 1, 1, 1000])
    frame = with_payload(r, parse, '"@"')
    room = wanted - len(frame.encode()) + 1
    return frame.replace('"@"', '"' + "x" * room + '"', 1)


FAMILIES: dict[Callable[[Random, str], str | bytes], int] = {
    valid: 180,
    unknown_keys: 60,
    missing: 60,
    wrong_type: 80,
    duplicates: 60,
    snake_case: 30,
    enums: 60,
    other_shape: 20,
    presence_items: 80,
    numbers: 50,
    unicode: 40,
    lone_surrogates: 50,
    nesting: 40,
    not_an_object: 20,
    bad_tokens: 50,
    bad_surroundings: 30,
    mutations: 160,
    truncations: 30,
    bad_utf8: 40,
}
# Frames around the size limit are rare, because they are large: one in this many.
SIZES_EVERY = 1_000


def frames(seed: int, count: int) -> Iterator[dict[str, str]]:
    families, weights = list(FAMILIES), list(FAMILIES.values())
    for n in range(count):
        r = Random(f"{seed}/{n}")
        parse = r.choice(PARSES)
        family = r.choices(families, weights)[0]
        if n % SIZES_EVERY == SIZES_EVERY - 1:
            family = sizes
        frame = family(r, parse)
        data = frame.encode() if isinstance(frame, str) else frame
        line = {"id": f"{n} {family.__name__}", "parse": parse}
        try:
            line["input_utf8"] = data.decode()
        except UnicodeDecodeError:
            line["input_hex"] = data.hex()
        yield line


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--count", type=int, default=20_000)
    options = arguments.parse_args()
    print(f"seed {options.seed}, {options.count} frames", file=sys.stderr)
    for line in frames(options.seed, options.count):
        print(json.dumps(line))


if __name__ == "__main__":
    main()
