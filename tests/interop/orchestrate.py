"""Runs the scenarios, the page of patterns, the chats and the differential run, and closes with `N passed, N failed`.

Called by run.sh, which installs the clients and builds the servers.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "differential"))

import browser  # noqa: E402
import chat  # noqa: E402
import compare  # noqa: E402
import patterns  # noqa: E402
import scenarios  # noqa: E402
from peers import Driver  # noqa: E402
from report import Report  # noqa: E402
from server import Server  # noqa: E402
from tap import Tap  # noqa: E402

WORK = HERE / ".work"


async def run_browser(report: Report, binary: Path, chromium: Path) -> None:
    server = Server(binary, WORK / "server.pid", WORK / "server.log")
    await server.start()

    def driver(name: str, transport: str) -> Driver:
        script = str(HERE / "clients/browser.mjs")
        argv = ["node", script, transport, str(chromium), server.page]
        return Driver(name, argv, WORK / "browser.log")

    try:
        page, sse = driver("chromium", "websocket"), driver("chromium-sse", "sse")
        await asyncio.wait_for(browser.run(report, server, page, sse), 300)
    except Exception as error:
        report.fail("browser", repr(error))
    finally:
        await server.stop()


async def run_scenarios(report: Report, binary: Path) -> None:
    server = Server(binary, WORK / "server.pid", WORK / "server.log")
    npm = Driver("npm", ["node", str(HERE / "clients/npm.mjs")], WORK / "npm.log", Tap())
    argv = [sys.executable, str(HERE / "clients/pypi.py")]
    pypi = Driver("pypi", argv, WORK / "pypi.log", Tap())
    try:
        await asyncio.wait_for(scenarios.run(report, server, npm, pypi), 180)
    except Exception as error:
        report.fail("scenarios", repr(error))


async def run_patterns(report: Report, binary: Path) -> None:
    server = Server(binary, WORK / "server.pid", WORK / "patterns.log")

    def driver(name: str, *argv: str) -> Driver:
        return Driver(name, list(argv), WORK / f"patterns-{name}.log")

    npm, second = (driver(name, "node", str(HERE / "clients/npm.mjs")) for name in ("npm", "npm-2"))
    pypi = driver("pypi", sys.executable, str(HERE / "clients/pypi.py"))
    try:
        await asyncio.wait_for(patterns.run(report, server, npm, second, pypi), 300)
    except Exception as error:
        report.fail("patterns", repr(error))


async def run_chat(report: Report, form: str, binary: Path) -> None:
    arguments, scheme, variables = (), "ws", {}
    if form == "tls":
        arguments, scheme = chat.certificate(WORK), "wss"
        trusted = str(arguments[0])
        variables = {"NODE_EXTRA_CA_CERTS": trusted, "SSL_CERT_FILE": trusted}
    server = Server(binary, WORK / "server.pid", WORK / "chat.log", arguments, scheme)

    def driver(name: str, *argv: str) -> Driver:
        return Driver(name, list(argv), WORK / f"chat-{name}.log", variables=variables)

    npm = driver("npm", "node", str(HERE / "clients/npm.mjs"))
    pypi = driver("pypi", sys.executable, str(HERE / "clients/pypi.py"))
    try:
        await asyncio.wait_for(chat.run(report, form, server, npm, pypi), 180)
    except Exception as error:
        report.fail(f"chat, {form}", repr(error))


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--server", type=Path, required=True, help="the example `server`")
    arguments.add_argument("--inspect", type=Path, required=True, help="the example `inspect`")
    arguments.add_argument("--patterns", type=Path, required=True, help="the server of patterns/")
    arguments.add_argument("--chats", type=Path, required=True, help="a folder with a chat of each form")
    arguments.add_argument("--only", choices=["scenarios", "patterns", "chat", "browser", "differential"])
    arguments.add_argument("--chromium", type=Path, default=Path("/usr/bin/chromium"))
    compare.add_arguments(arguments)
    options = arguments.parse_args()

    report = Report()
    for log in WORK.glob("*.log"):
        log.unlink()
    if options.only in (None, "scenarios"):
        print("== scenarios", flush=True)
        asyncio.run(run_scenarios(report, options.server))
    if options.only in (None, "patterns"):
        print("== patterns", flush=True)
        asyncio.run(run_patterns(report, options.patterns))
    if options.only in (None, "chat"):
        print("== chat", flush=True)
        for form in chat.FORMS:
            asyncio.run(run_chat(report, form, options.chats / form))
    if options.only in (None, "browser"):
        print("== browser", flush=True)
        asyncio.run(run_browser(report, options.server, options.chromium))
    if options.only in (None, "differential"):
        print("== differential", flush=True)
        compare.run(report, options.inspect, WORK, options.seed, options.count)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
