"""The differential run: the same frames through `inspect`, the npm and the PyPI package.

The law: `inspect` accepts exactly what JavaScript accepts, and its five fields are equal, in
JavaScript's eyes and in Python's. What may differ is a rule with a name below, and every use of a
rule is counted and printed. The rules of equality are in the two references.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any

import generate
from report import Failed, Report

HERE = Path(__file__).resolve().parent
PATIENCE = 120.0
SHOWN = 5

# Where pondwire is stricter than JavaScript.
SIZE = "over 1 MiB"
NESTING = "nesting over 127 brackets"
SURROGATE = "lone surrogate in event, requestId or channelName"
STRICTER = {SIZE: "limit", NESTING: "limit", SURROGATE: "unicode"}
# Where Python differs from JavaScript.
SNAKE = "Python takes snake_case keys"
CONSTANT = "Python takes NaN and Infinity"
DIGITS = "Python refuses integers of over 4300 digits"
RECURSION = "Python runs out of stack"
ENUM_SURROGATE = "Python calls an enum with a lone surrogate no string"

RULES = [*STRICTER, SNAKE, CONSTANT, DIGITS, RECURSION, ENUM_SURROGATE]
KINDS = ["accepted", "utf8", "json", "schema", "limit", "unicode"]
FULL = 20_000  # this many frames meet all rules
MAX_BYTES = 1 << 20
MAX_DEPTH = 127

STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
NAMES = re.compile(r"'([A-Z_]+)'")


@dataclass
class Frame:
    """One frame, and the three verdicts on it."""

    given: dict[str, str]
    pondwire: dict[str, Any]
    js: dict[str, Any]
    python: dict[str, Any]

    @cached_property
    def data(self) -> bytes:
        if "input_hex" in self.given:
            return bytes.fromhex(self.given["input_hex"])
        return self.given["input_utf8"].encode()

    @cached_property
    def depth(self) -> int:
        """Brackets open at once, outside of strings; exact when the frame is JSON."""
        depth = deepest = 0
        for byte in STRINGS.sub(b"", self.data):
            if byte in b"[{":
                depth += 1
                deepest = max(deepest, depth)
            elif byte in b"]}":
                depth -= 1
        return deepest

    def stricter(self) -> str | None:
        """The rule by which pondwire refuses this frame, whatever JavaScript's verdict."""
        if len(self.data) > MAX_BYTES:
            return SIZE
        if self.depth > MAX_DEPTH:
            return NESTING
        return SURROGATE if self.js["surrogates"] else None


class Tally:
    """One check over all frames: the frames checked, the rules used, the mismatches."""

    def __init__(self, rules: dict[str, set[str]]) -> None:
        self.looked_at = 0
        self.wrong: list[tuple[Frame, str]] = []
        self._rules = rules

    def by_rule(self, rule: str, frame: Frame) -> None:
        self._rules[rule].add(frame.given["id"])

    def holds(self, frame: Frame, condition: bool, reason: str) -> None:
        self.looked_at += 1
        if not condition:
            self.wrong.append((frame, reason))


# --- the checks -------------------------------------------------------------------------------


def same_verdict(f: Frame, tally: Tally) -> None:
    """accepted exactly when JavaScript accepts"""
    js, pondwire = f.js["ok"], f.pondwire["ok"]
    rule = f.stricter() if js else None
    if rule:
        kind = f.pondwire.get("kind", "accepted")
        tally.by_rule(rule, f)
        tally.holds(f, kind == STRICTER[rule], f"{rule}, but pondwire says {kind}")
    else:
        tally.holds(f, js == pondwire, "pondwire accepts" if pondwire else "JavaScript accepts")


def same_js_value(f: Frame, tally: Tally) -> None:
    """value equal to JavaScript's"""
    if f.js["same"] is not None:
        tally.holds(f, f.js["same"], "another value than JavaScript's")


def same_python_value(f: Frame, tally: Tally) -> None:
    """value equal to Python's"""
    if f.python["same"] is not None:
        tally.holds(f, f.python["same"], "another value than Python's")


def same_stage(f: Frame, tally: Tally) -> None:
    """refused at the stage at which JavaScript refuses: UTF-8, JSON or schema"""
    if f.js["ok"] or f.pondwire["ok"]:
        return
    stage, kind, rule = f.js["stage"], f.pondwire["kind"], f.stricter()
    if kind != stage and rule and kind == STRICTER[rule]:
        tally.by_rule(rule, f)
    else:
        tally.holds(f, kind == stage, f"JavaScript refuses at {stage}, pondwire says {kind}")


def python_verdict(f: Frame, tally: Tally) -> None:
    """accepted exactly when Python accepts"""
    python, pondwire = f.python, f.pondwire
    if python["ok"] and not pondwire["ok"]:
        rule = f.stricter()
        if rule and STRICTER[rule] != pondwire["kind"]:
            rule = None
        if python["snake"] and f.js["stage"] == "schema":
            rule = rule or SNAKE
        if python["constant"] and f.js["stage"] == "json":
            rule = rule or CONSTANT
    else:
        rule = {"digits": DIGITS, "recursion": RECURSION}.get(python.get("stage", ""))
    if rule:
        tally.by_rule(rule, f)
    else:
        tally.holds(f, python["ok"] == pondwire["ok"], "one accepts without a rule")


def python_error(f: Frame, tally: Tally) -> None:
    """path and message equal to those of Python's schema stage"""
    if f.pondwire["ok"] or f.python.get("stage") != "schema":
        return
    rule = f.stricter()
    if rule and f.pondwire["kind"] == STRICTER[rule]:
        tally.by_rule(rule, f)
    elif f.python["constant"] and f.pondwire["kind"] == "json":
        tally.by_rule(CONSTANT, f)
    elif f.python["snake"] and f.pondwire["kind"] == "schema":
        tally.by_rule(SNAKE, f)
    elif f.python["path"] in f.js["surrogates"] and f.pondwire["path"] == f.python["path"]:
        told = f.pondwire["message"]
        tally.by_rule(ENUM_SURROGATE, f)
        tally.holds(f, told.startswith("Expected one of ["), f"of an enum pondwire says {told}")
    else:
        said = f.pondwire["kind"], f.pondwire["path"], f.pondwire["message"]
        wanted = "schema", f.python["path"], expected_message(f.python["message"])
        tally.holds(f, said == wanted, f"pondwire says {said}, Python {wanted}")


def expected_message(python: str) -> str:
    """Python's text, except that pydantic's wording for enums is replaced by pondwire's."""
    if python.startswith("Input should be"):
        return f"Expected one of [{', '.join(NAMES.findall(python))}]"
    return python


CHECKS: list[Callable[[Frame, Tally], None]] = [
    same_verdict,
    same_js_value,
    same_python_value,
    same_stage,
    python_verdict,
    python_error,
]


# --- running them -----------------------------------------------------------------------------


async def pipe(argv: list[str], source: Path | None, target: Path) -> None:
    with open(source or "/dev/null", "rb") as stdin, target.open("wb") as stdout:
        process = await asyncio.create_subprocess_exec(*argv, stdin=stdin, stdout=stdout)
        try:
            status = await asyncio.wait_for(process.wait(), PATIENCE)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise Failed(f"{argv[0]} took over {PATIENCE:.0f} s") from None
    if status:
        raise Failed(f"{' '.join(argv[:2])} ended with status {status}")


async def answer(inspect: Path, work: Path, seed: int, count: int) -> Iterator[Frame]:
    """Generates the frames and has all three judge them."""
    paths = [work / f"{name}.ndjson" for name in ("frames", "pondwire", "js", "python")]
    given, pondwire, js, python = paths
    with given.open("w") as lines:
        for frame in generate.frames(seed, count):
            lines.write(json.dumps(frame) + "\n")
    await pipe([str(inspect)], given, pondwire)
    arguments = [str(given), str(pondwire)]
    await asyncio.gather(
        pipe(["node", str(HERE / "reference.mjs"), *arguments], None, js),
        pipe([sys.executable, str(HERE / "reference.py"), *arguments], None, python),
    )
    return joined(paths)


def joined(paths: list[Path]) -> Iterator[Frame]:
    sys.set_int_max_str_digits(0)  # the frames hold longer ones
    files = [path.open("rb") for path in paths]
    for number, lines in enumerate(zip_longest(*files), 1):
        if None in lines:
            raise Failed(f"line {number} is missing in {paths[lines.index(None)]}")
        records = [json.loads(line) for line in lines]
        if len({record["id"] for record in records}) != 1:
            raise Failed(f"line {number} answers different frames")
        yield Frame(*records)


def run(report: Report, inspect: Path, work: Path, seed: int, count: int) -> None:
    print(f"seed {seed}, {count} frames", flush=True)
    rules: dict[str, set[str]] = {rule: set() for rule in RULES}
    kinds: Counter[str] = Counter()
    tallies = {check: Tally(rules) for check in CHECKS}
    try:
        for frame in asyncio.run(answer(inspect, work, seed, count)):
            kinds[frame.pondwire.get("kind", "accepted")] += 1
            for check, tally in tallies.items():
                check(frame, tally)
    except Failed as error:
        report.fail("differential", str(error))
        return

    print("verdicts:", ", ".join(f"{kind} {n}" for kind, n in kinds.most_common()))
    for rule in RULES:
        print(f"rule  {len(rules[rule]):6}  {rule}")
    with (work / "mismatches.ndjson").open("w") as mismatches:
        for check, tally in tallies.items():
            tell(report, check.__doc__ or "", tally, mismatches)
    if count >= FULL:
        idle = [rule for rule in RULES if not rules[rule]]
        idle += [kind for kind in KINDS if not kinds[kind]]
        name = "every rule and every kind of verdict was met"
        report.fail(name, f"never: {idle}") if idle else report.ok(name)


def tell(report: Report, name: str, tally: Tally, mismatches: Any) -> None:
    if not tally.wrong:
        report.ok(name, f"{tally.looked_at} frames")
        return
    report.fail(name, f"{len(tally.wrong)} of {tally.looked_at} frames, see {mismatches.name}")
    for number, (frame, reason) in enumerate(tally.wrong):
        record = {"check": name, "reason": reason, **vars(frame)}
        record.pop("data", None)
        record.pop("depth", None)
        mismatches.write(json.dumps(record) + "\n")
        if number < SHOWN:
            print(f"      {frame.given['id']}: {reason}: {frame.data[:200]!r}")


def add_arguments(arguments: argparse.ArgumentParser) -> None:
    arguments.add_argument("--seed", type=int, default=1, help="of the generator")
    arguments.add_argument("--count", type=int, default=20_000, help="frames to generate")
