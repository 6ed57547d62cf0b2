"""Runs the cases of autobahntestsuite against an echo server, and counts their outcomes.

A case that is FAILED, or closed in a way that is neither clean nor allowed, makes the run fail. Only OK
counts as OK. The other allowed outcomes, each for the named cases only:

- NON-STRICT, for text that stops being UTF-8 before its message is whole. The server fails the connection
  when the message is whole, the suite wants it at once, and RFC 6455, section 8.1, does not say when.
- INFORMATIONAL, for which the suite has no right answer.
- UNIMPLEMENTED, for the offers that the server declines: the case ends after the handshake, and tests
  nothing of compression.
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

KINDS = ["OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED", "FAILED"]
# The allowed outcomes other than OK, by the prefix of the case number.
EXPECTED = {
    "6.4.": "NON-STRICT",
    "7.1.6": "INFORMATIONAL",
    "7.13.": "INFORMATIONAL",
    # `server_max_window_bits=9` and nothing else. A frame is compressed once for all recipients, so the
    # server declines all windows but the largest (RFC 7692, 7.1.2.1), and speaks uncompressed.
    "13.3.": "UNIMPLEMENTED",
    "13.5.": "UNIMPLEMENTED",
}
SEVERAL = 8

# The explanation of these in RESULTS.md.
WHY = """\
Why these are not OK:

- **NON-STRICT**, 6.4.1 to 6.4.4: text that stops being UTF-8 in the second of three fragments (6.4.1, 6.4.2)
  or of three pieces of one frame (6.4.3, 6.4.4). The suite wants the connection to fail at once. The server
  fails it, with 1007, when the message is whole: RFC 6455, section 8.1, does not say when.
- **INFORMATIONAL**, 7.1.6, 7.13.1 and 7.13.2: the suite has no right answer for a close while 256 KB are on
  their way, and for close codes that nobody has defined.
- **UNIMPLEMENTED**, all of 13.3 and 13.5: the client offers compression with a window of 2^9 bytes
  (`server_max_window_bits=9`) and nothing else. The server compresses a frame once for all recipients, with
  the largest window, so it declines (RFC 7692, section 7.1.2.1) and speaks uncompressed. The suite ends such
  a case after the handshake: **these 36 test nothing of compression.** A client that insists on a smaller
  window gets no compression from this server.
"""


def number(case):
    return case.__name__.removeprefix("Case").replace("_", ".")


async def run(case, host, port, resource):
    takes_bytes = number(case).startswith(("12.", "13."))
    started = time.monotonic()
    loop = asyncio.get_running_loop()
    _, peer = await loop.create_connection(lambda: Peer(case, resource, takes_bytes), host, port)
    await peer.done
    ended = peer.case
    names = (kind for start, kind in EXPECTED.items() if number(case).startswith(start))
    is_allowed = ended.behavior in ("OK", next(names, "OK"))
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


def kind(result):
    return result["behavior"] if result["is_good"] else "FAILED"


def table(results, titles):
    """How the cases of each group ended, as Markdown."""
    rows = collections.defaultdict(collections.Counter)
    for result in results:
        rows[result["number"].split(".")[0]][kind(result)] += 1
    lines = ["| group | | " + " | ".join(KINDS) + " |", "|---|---|" + "---:|" * len(KINDS)]
    for group, counts in rows.items():
        cells = " | ".join(str(counts[name]) for name in KINDS)
        lines.append(f"| {group} | {titles[group]} | {cells} |")
    return "\n".join(lines)


def closing(results):
    """The number of cases per outcome, in one line. Only OK counts as passed."""
    counts = collections.Counter(map(kind, results))
    ended = ", ".join(f"{counts[name]} {name}" for name in KINDS)
    return f"{len(results)} cases: {ended}"


def exceptions(results):
    """The cases that are neither OK nor failed, by outcome, with each group as one range."""
    lines = []
    for name in KINDS[1:-1]:
        groups = collections.defaultdict(list)
        for result in results:
            if kind(result) == name:
                groups[result["number"].rpartition(".")[0]].append(result["number"])
        ranges = [
            group[0] if len(group) == 1 else f"{group[0]} to {group[-1]} ({len(group)})"
            for group in groups.values()
        ]
        lines.append(f"{name}: {', '.join(ranges) or 'none'}")
    return lines


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
    text += "\n\n" + "\n".join(f"- {line}" for line in exceptions(results))
    print(text)
    failed = any(not result["is_good"] for result in results)
    if options.results:
        version = next(package.parent.glob("autobahntestsuite-*.dist-info")).name
        version = version.removeprefix("autobahntestsuite-").removesuffix(".dist-info")
        options.results.write_text(
            f"# WebSocket conformance\n\n"
            f"{datetime.date.today()}, the cases of autobahntestsuite {version} (PyPI), run by "
            f"`peer.py` with Python {platform.python_version()},\n{options.messages} messages in "
            f"each compression case, in {seconds:.0f} s.\n\n**{closing(results)}**\n\n"
            f"Command: `tests/interop/conformance/run.sh {' '.join(sys.argv[3:])}`\n\n{text}\n\n"
            f"{WHY}"
        )
    print(f"{seconds:.0f} s")
    print(closing(results))
    sys.exit(failed)


if __name__ == "__main__":
    main()
