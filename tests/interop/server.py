"""The server under test: started, killed and restarted by process id."""

from __future__ import annotations

import asyncio
import re
import signal
from pathlib import Path

from report import Failed

LISTENING = re.compile(r"^listening on https?://127\.0\.0\.1:(\d+)$")


class Server:
    def __init__(
        self,
        binary: Path,
        pid_file: Path,
        log: Path,
        arguments: tuple[str | Path, ...] = ("--addr",),
        scheme: str = "ws",
    ) -> None:
        self.binary = binary
        self.port = 0
        self._arguments = arguments  # before the address
        self._scheme = scheme
        self._pid_file = pid_file  # for the trap of run.sh, if this process dies before `stop`
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}/api/socket"

    @property
    def page(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    async def start(self) -> None:
        """Port 0 the first time, the same port at every restart."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                self.binary,
                *self._arguments,
                f"127.0.0.1:{self.port}",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        self._pid_file.write_text(str(self._process.pid))
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), 10)
        except TimeoutError:
            raise Failed("the server printed no line within 10 s") from None
        match = LISTENING.match(line.decode(errors="replace").strip())
        if not match:
            raise Failed(f"the server's first line is {line!r}")
        self.port = int(match[1])

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            process.send_signal(how)
            try:
                await asyncio.wait_for(process.wait(), 5)
            except TimeoutError:
                process.kill()
                await process.wait()
        self._pid_file.unlink(missing_ok=True)
