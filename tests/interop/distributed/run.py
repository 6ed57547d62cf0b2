"""Nodes of this crate, and of the PyPI package, around one Redis.

    run.py --redis redis://127.0.0.1:6379 --server PATH [--only WORD]

The last line is `N passed, N failed`; the exit code is 0 only when nothing failed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
import traceback
from functools import partial

import outage
import rooms
from nodes import PondwireNode, PythonNode

KINDS = {"pondwire": PondwireNode, "python": PythonNode}
PAIRS = [("pondwire", "pondwire"), ("pondwire", "python"), ("python", "pondwire")]
# The reference: a difference from this pair is pondwire's.
PAIRS += [("python", "python")]


async def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--redis", required=True)
    parser.add_argument("--server", required=True)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    PondwireNode.binary = given.server

    tests = []
    for pair in PAIRS:
        kinds = [KINDS[kind] for kind in pair]
        for scenario in rooms.SCENARIOS:
            name = f"{' and '.join(pair)}: {scenario.__doc__}"
            tests.append((name, partial(scenario, given.redis, *kinds)))
    tests.append((f"pondwire and pondwire: {outage.absence.__doc__}", outage.absence))
    for pair in PAIRS[:2]:
        kinds = [KINDS[kind] for kind in pair]
        for scenario in (outage.loss, outage.stream):
            name = f"{' and '.join(pair)}: {scenario.__doc__}"
            tests.append((name, partial(scenario, *kinds)))

    passed = failed = 0
    for name, test in tests:
        if given.only not in name:
            continue
        start = time.monotonic()
        try:
            async with asyncio.timeout(60):
                await test()
        except Exception:
            failed += 1
            print(f"FAILED {name}")
            traceback.print_exc()
        else:
            passed += 1
            print(f"ok {name} ({time.monotonic() - start:.1f} s)")
        sys.stdout.flush()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


sys.exit(asyncio.run(main()))
