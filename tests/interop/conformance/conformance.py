"""Runs the cases of autobahntestsuite against a server that echoes, and counts how they end.

A case that is FAILED, or closed in a way that is neither clean nor allowed, makes the run fail.
NON-STRICT is allowed by RFC 6455, INFORMATIONAL has no right answer, and UNIMPLEMENTED is allowed for
the offers that the server declines, and for no other.
"""

import argparse
import asyncio
import collections
import datetime
import fnmatch
import pathlib
import platform
import sys
import sysconfig
import time

import suite
from peer import Peer

GOOD = ("OK", "NON-STRICT", "INFORMATIONAL")
KINDS = [*GOOD, "UNIMPLEMENTED", "FAILED"]
# `server_max_window_bits=9` and nothing else. A frame is compressed once for all who get it, so the
# server declines all windows but the largest (RFC 7692, 7.1.2.1), and speaks uncompressed.
DECLINED = ("13.3.", "13.5.")
SEVERAL = 8


def number(case):
    return case.__name__.removeprefix("Case").replace("_", ".")


async def run(case, host, port, resource):
    takes_bytes = number(case).startswith(("12.", "13."))
    started = time.monotonic()
    loop = asyncio.get_running_loop()
    _, peer = await loop.create_connection(lambda: Peer(case, resource, takes_bytes), host, port)
    await peer.done
    ended = peer.case
    is_allowed = ended.behavior in GOOD
    if number(case).startswith(DECLINED):
        is_allowed = ended.behavior == "UNIMPLEMENTED"
    is_good = is_allowed and ended.behaviorClose in ("OK", "INFORMATIONAL")
    is_good = is_good and peer.violation is None
    return {
        "number": number(case),
        "behavior": ended.behavior,
        "close": ended.behaviorClose,
        "is_good": is_good,
        "why": [peer.violation, ended.result, ended.resultClose, peer.remoteCloseCode],
        "seconds": time.monotonic() - started,
    }


async def run_all(cases, options):
    results = {}
    waiting = collections.deque(cases)

    async def worker():
        while waiting:
            case = waiting.popleft()
            result = await run(case, options.host, options.port, options.resource)
            results[result["number"]] = result
            if not result["is_good"]:
                print(result["number"], result["behavior"], result["close"], result["why"])

    await asyncio.gather(*(worker() for _ in range(SEVERAL)))
    return [results[number(case)] for case in cases]


def table(results, titles):
    """How the cases of each group ended, as Markdown."""
    rows = collections.defaultdict(collections.Counter)
    for result in results:
        kind = result["behavior"] if result["is_good"] else "FAILED"
        rows[result["number"].split(".")[0]][kind] += 1
    lines = ["| group | | " + " | ".join(KINDS) + " |", "|---|---|" + "---:|" * len(KINDS)]
    for group, counts in rows.items():
        cells = " | ".join(str(counts[kind]) for kind in KINDS)
        lines.append(f"| {group} | {titles[group]} | {cells} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--resource", default="/echo")
    parser.add_argument("--cases", nargs="*", default=["*"], help="patterns, as 6.* 7.1.?")
    parser.add_argument("--messages", type=int, default=1000, help="of each compression case")
    parser.add_argument("--results", type=pathlib.Path, help="where to write the summary")
    options = parser.parse_args()

    package = pathlib.Path(sysconfig.get_path("purelib")) / "autobahntestsuite"
    loaded = suite.load(package)
    chosen = [
        case
        for case in loaded.Cases
        if any(fnmatch.fnmatch(number(case), pattern) for pattern in options.cases)
    ]
    for case in chosen:
        if hasattr(case, "COUNT"):
            case.COUNT = min(case.COUNT, options.messages)
    started = time.monotonic()
    results = asyncio.run(run_all(chosen, options))
    seconds = time.monotonic() - started

    text = table(results, loaded.CaseCategories)
    others = [
        f"{result['number']} {result['behavior']}"
        for result in results
        if result["behavior"] in GOOD[1:]
    ]
    text += f"\n\nNeither OK nor declined: {', '.join(others) or 'none'}."
    print(text)
    failed = sum(not result["is_good"] for result in results)
    closing = f"{len(results) - failed} passed, {failed} failed"
    if options.results:
        version = next(package.parent.glob("autobahntestsuite-*.dist-info")).name
        version = version.removeprefix("autobahntestsuite-").removesuffix(".dist-info")
        options.results.write_text(
            f"# WebSocket conformance\n\n"
            f"{datetime.date.today()}, the cases of autobahntestsuite {version} (PyPI), run by "
            f"`peer.py` with Python {platform.python_version()},\n{options.messages} messages in "
            f"each compression case, in {seconds:.0f} s: {closing}.\n\n"
            f"Command: `tests/interop/conformance/run.sh {' '.join(sys.argv[3:])}`\n\n{text}\n\n"
            f"6.4.1 to 6.4.4 send text that stops being UTF-8 in a fragment before the last: the server "
            f"says so when\nthe message is whole, as RFC 6455, section 8.1 lets it. 7.1.6 and 7.13 have "
            f"no right answer. The offers of\n13.3 and 13.5 are declined: see `conformance.py`.\n"
        )
    print(f"{seconds:.0f} s")
    print(closing)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
