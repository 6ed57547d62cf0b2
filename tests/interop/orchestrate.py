"""Runs the scenarios, then the differential run, and closes with `N passed, N failed`.

Called by run.sh, which installs the clients and builds the two examples.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "differential"))

import compare  # noqa: E402
import scenarios  # noqa: E402
from peers import Driver  # noqa: E402
from report import Report  # noqa: E402
from server import Server  # noqa: E402

WORK = HERE / ".work"


async def run_scenarios(report: Report, binary: Path) -> None:
    server = Server(binary, WORK / "server.pid", WORK / "server.log")
    npm = Driver("npm", ["node", str(HERE / "clients/npm.mjs")], WORK / "npm.log")
    events = Driver(
        "npm over events", ["node", str(HERE / "clients/npm.mjs"), "sse"], WORK / "events.log"
    )
    pypi = Driver("pypi", [sys.executable, str(HERE / "clients/pypi.py")], WORK / "pypi.log")
    for log in ("server.log", "npm.log", "events.log", "pypi.log"):
        (WORK / log).unlink(missing_ok=True)
    try:
        await asyncio.wait_for(scenarios.run(report, server, npm, pypi, events), 180)
    except Exception as error:
        report.fail("scenarios", repr(error))


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--server", type=Path, required=True, help="the example `server`")
    arguments.add_argument("--inspect", type=Path, required=True, help="the example `inspect`")
    arguments.add_argument("--only", choices=["scenarios", "differential"])
    compare.add_arguments(arguments)
    options = arguments.parse_args()

    report = Report()
    if options.only != "differential":
        print("== scenarios", flush=True)
        asyncio.run(run_scenarios(report, options.server))
    if options.only != "scenarios":
        print("== differential", flush=True)
        compare.run(report, options.inspect, WORK, options.seed, options.count)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
