"""The parts of frames: strings, numbers, values and objects as JSON text.

Each function draws from the `Random` it is given, and from nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

ACTIONS = {
    "client": ["JOIN_CHANNEL", "LEAVE_CHANNEL", "BROADCAST"],
    "server": ["BROADCAST", "CONNECT", "ERROR", "SYSTEM"],
    "presence": ["PRESENCE"],
}
PRESENCE_EVENTS = ["JOIN", "LEAVE", "UPDATE"]

# A frame under construction: pairs of a key and the JSON text of its value.
Fields = list[tuple[str, str]]

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _-/:."
PUNCTUATION = "\"\\/{}[]:,'<>&\t\n\r\b\f\0\x01\x1f\x7f"
UNICODE = "éßżłØ€日本語한😀𝄞\u0080\u00a0\u07ff\u0800\u2028\u2029\ufeff\ufffd\uffff\U00010000\U0010ffff"
SHORT_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "/": "\\/",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
}
NUMBERS = """
    0 -0 1 -1 10 0.0 -0.0 1.0 1.50 0.1 1e0 1E5 1e+5 1e-5 1.5e300 -2.5E-300 123456789012
    9007199254740991 9007199254740992 9007199254740993 -9007199254740993 9223372036854775807
    9223372036854775808 18446744073709551615 18446744073709551616 -9223372036854775809
    123456789012345678901234567890 0.1000000000000000055511151231257827 2.2250738585072014e-308
    5e-324 4e-324 1e-400 1.7976931348623157e308 1.7976931348623159e308 1e308 1e309 1e400 -1e400
    0e999 0.00000000000000000000000000000000000000001 1e-7 100000000000000000000000 0e-0 -0e0 3.0e2
""".split()
SPACES = ["", "", "", " ", "  ", "\t", "\n", "\r\n", " \n\t"]


def words(r: Random, longest: int = 24) -> str:
    alphabet = r.choice([LETTERS, LETTERS, LETTERS, PUNCTUATION + LETTERS, UNICODE + LETTERS])
    length = r.choice([0, 1, 2, r.randint(0, longest), r.randint(0, longest)])
    if r.random() < 0.01:
        length = r.randint(100, 2_000)
    return "".join(r.choices(alphabet, k=length))


def escape(r: Random, character: str) -> str:
    if character in SHORT_ESCAPES and r.random() < 0.7:
        return SHORT_ESCAPES[character]
    units = character.encode("utf-16-be")
    style = r.choice(["{:04x}", "{:04X}"])
    return "".join(
        "\\u" + style.format(int.from_bytes(units[i : i + 2])) for i in range(0, len(units), 2)
    )


def string(r: Random, text: str, escaped: float | None = None) -> str:
    """The string as JSON; `escaped` is the share of characters escaped without need."""
    if escaped is None:
        escaped = r.choice([0.0, 0.0, 0.0, 0.05, 0.3, 1.0])
    ascii_only = r.random() < 0.2  # Python's default
    if not escaped and text.isalnum() and text.isascii():
        return f'"{text}"'
    out = []
    for c in text:
        needed = c in '"\\' or c < " " or (ascii_only and c > "~")
        out.append(escape(r, c) if needed or (escaped and r.random() < escaped) else c)
    return f'"{"".join(out)}"'


def number(r: Random) -> str:
    if r.random() < 0.5:
        return r.choice(NUMBERS)
    text = r.choice(["", "-"]) + str(r.randint(0, 10 ** r.randint(1, 25)))
    if r.random() < 0.4:
        text += "." + "".join(r.choice("0123456789") for _ in range(r.randint(1, 20)))
    if r.random() < 0.3:
        text += r.choice("eE") + r.choice(["", "+", "-"]) + str(r.randint(0, 330))
    return text


def value(r: Random, depth: int = 0) -> str:
    if depth < 4 and r.random() < 0.3:
        items = range(r.randint(0, 4))
        if r.random() < 0.5:
            return array(r, [value(r, depth + 1) for _ in items])
        return render(r, [(words(r, 8), value(r, depth + 1)) for _ in items])
    return r.choice(
        [string(r, words(r)), string(r, words(r)), number(r), "true", "false", "null"]
    )


def array(r: Random, items: list[str]) -> str:
    space, comma = r.choice(SPACES), r.choice(["", "", " "])
    return f"[{space}{f',{comma}'.join(items)}{space}]"


def render(r: Random, fields: Fields) -> str:
    """An object in one of the spacings that clients send, or in none of them."""
    style = r.random()
    if style < 0.5:
        space: Callable[[], str] = lambda: ""  # noqa: E731
    elif style < 0.7:
        return "{" + ", ".join(f"{string(r, k, 0.0)}: {v}" for k, v in fields) + "}"
    else:
        space = lambda: r.choice(SPACES)  # noqa: E731
    escaped = r.choice([0.0, 0.0, 0.0, 0.2])
    pairs = [
        f"{space()}{string(r, k, escaped)}{space()}:{space()}{v}{space()}" for k, v in fields
    ]
    return "{" + (",".join(pairs) or space()) + "}"


def payload(r: Random) -> str:
    return render(r, [(words(r, 8), value(r)) for _ in range(r.choice([0, 1, 1, 2, 3, 8]))])


def presence_payload(r: Random, items: list[str] | None = None, changed: str | None = None) -> str:
    if items is None:
        items = [payload(r) for _ in range(r.choice([0, 1, 2, 5]))]
    fields = [("presence", array(r, items)), ("changed", changed or payload(r))]
    if r.random() < 0.2:
        fields.append((r.choice(["userId", "Presence", "extra"]), value(r)))
    r.shuffle(fields)
    return render(r, fields)


def shape_of(r: Random, parse: str) -> str:
    """The kind of message that this parse reads."""
    return r.choice(["server", "presence"]) if parse == "channelEvent" else parse


def message(r: Random, shape: str) -> Fields:
    presence = shape == "presence"
    event = r.choice(PRESENCE_EVENTS) if presence else words(r)
    fields = [
        ("action", string(r, r.choice(ACTIONS[shape]))),
        ("event", string(r, event)),
        ("channelName", string(r, r.choice(["/chat/42", "", words(r)]))),
        ("requestId", string(r, r.choice(["r-1", "", words(r)]))),
        ("payload", presence_payload(r) if presence else payload(r)),
    ]
    if r.random() < 0.6:
        r.shuffle(fields)
    return fields


def replace(fields: Fields, key: str, text: str) -> Fields:
    return [(k, text if k == key else v) for k, v in fields]


def around(r: Random, text: str) -> str:
    """The text between two runs of whitespace."""
    return r.choice(SPACES) + text + r.choice(SPACES)
