"""Counts passed and failed checks, and prints each as it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable


class Failed(Exception):
    """A check that did not hold; the report prints its text."""


def expect(condition: bool, reason: str) -> None:
    """`assert` that survives `python -O`."""
    if not condition:
        raise Failed(reason)


class Report:
    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0

    def ok(self, name: str, note: str = "") -> None:
        self.passed += 1
        print(f"ok    {name}{f'  ({note})' if note else ''}", flush=True)

    def fail(self, name: str, reason: str) -> None:
        self.failed += 1
        print(f"FAIL  {name}: {reason}", flush=True)

    async def run(self, name: str, check: Awaitable[None], limit: float = 60.0) -> None:
        """Waits for one check, at most `limit` seconds; a failure never stops the next check."""
        began = time.monotonic()
        try:
            await asyncio.wait_for(check, limit)
        except TimeoutError:
            self.fail(name, f"not finished after {limit:.0f} s")
        except Exception as error:  # a crash of the check is a failure of the check
            self.fail(name, str(error) if isinstance(error, Failed) else repr(error))
        else:
            self.ok(name, f"{time.monotonic() - began:.2f} s")

    def close(self) -> int:
        """Prints the closing line; returns the exit code."""
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed or not self.passed else 0
