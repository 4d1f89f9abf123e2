"""Two trainings that take turns on one machine: while one runs, all processes of the other are frozen.

A shared machine gets faster and slower by the minute. Turns of seconds let both sides see the same of it.
"""

import signal
import subprocess
import time
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from engine.journal import read_lines

READY_S = 300.0
"""A side takes so many seconds at most to start and warm up."""
POLL_S = 0.2


class Side:
    """A training in processes of its own, and when it ran."""

    def __init__(self, name: str, command: Sequence[str], environment: dict[str, str], journal: Path) -> None:
        """Start it.

        Args:
            journal: where it writes `{"kind": "step", "step": ..., "time": ...}` lines, with others between them.
        """
        self.name, self._journal = name, journal
        self._process = psutil.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        self._turns: list[tuple[float, float]] = []

    def wait_for(self, step: int) -> None:
        """Let it run until it has done so many steps, and freeze it then."""
        until = time.monotonic() + READY_S
        while not any(done >= step for done, _ in self._steps()):
            if self._process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"{self.name} did not come to step {step}")
            time.sleep(POLL_S)
        self._signal(signal.SIGSTOP)

    def take_turn(self, seconds: float) -> None:
        """Let it run for a while."""
        self._signal(signal.SIGCONT)
        started = time.time()
        time.sleep(seconds)
        self._signal(signal.SIGSTOP)
        self._turns.append((started, time.time()))

    def step_s(self) -> float:
        """Seconds of its own turns that a step took, over all turns."""
        points = [(step, own) for step, at in self._steps() if (own := self._own_time(at)) is not None]
        (first, began), (last, ended) = points[0], points[-1]
        return (ended - began) / (last - first)

    def go_on(self) -> None:
        """Let it run freely, so that it can be ended."""
        self._signal(signal.SIGCONT)

    def end(self) -> None:
        """End it if it has not ended yet."""
        if self._process.poll() is None:
            self.go_on()
            self._process.terminate()
            self._process.wait()

    def wait(self) -> None:
        """Wait for its own end."""
        self._process.wait()

    def _steps(self) -> list[tuple[int, float]]:
        return [(line["step"], line["time"]) for line in read_lines(self._journal) if line["kind"] == "step"]

    def _own_time(self, at: float) -> float | None:
        """Seconds of its own turns before a moment; None for one outside them, when it warmed up or ended."""
        index = bisect_right(self._turns, at, key=lambda turn: turn[0]) - 1
        if index < 0 or at > self._turns[index][1]:
            return None
        return sum(ended - started for started, ended in self._turns[:index]) + at - self._turns[index][0]

    def _signal(self, number: int) -> None:
        processes: list[Any] = [self._process, *self._process.children(recursive=True)]
        for process in processes:
            with suppress(psutil.Error):
                process.send_signal(number)


def alternate(sides: Sequence[Side], seconds: float, turn_s: float) -> None:
    """Let warm sides run in turns, for so many seconds each; none of them goes first twice in a row."""
    for number in range(max(2, round(seconds / turn_s))):
        for side in sides if number % 2 else reversed(sides):
            side.take_turn(turn_s)
