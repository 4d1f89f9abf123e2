"""The one progress display of a run: fed with journal records, live in a terminal, plain lines in a pipe."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.headline import SummaryRow, main_metrics
from orchestrator.text_table import aligned, number

PLAIN_INTERVAL_S = 10.0
"""Least time between two plain lines within an epoch."""
REFRESH_PER_S = 4
BAR_WIDTH = 30
MOST_BOARD_LINES = 20
SILENT_EVENTS = ("checkpoint",)
BOARD_EVENTS = ("trial",)
"""What a table that changes shows by itself; lines in a pipe only."""


@dataclass
class StageProgress:
    """How far a stage is, as its journal tells."""

    name: str
    reason: str
    metric_name: str | None = None
    epochs: int = 0
    steps_per_epoch: int = 0
    first_step: int = 0
    started: float = 0.0
    epoch: int = 0
    step: int = 0
    now: float = 0.0
    latest: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole stage; 0 while unknown."""
        return self.epochs * self.steps_per_epoch

    @property
    def eta_s(self) -> float | None:
        """Seconds to go at the pace of this attempt, evaluations included; None while unknown, and at the end."""
        done, left = self.step - self.first_step, self.total_steps - self.step
        if done <= 0 or left <= 0:
            return None
        return (self.now - self.started) / done * left

    @property
    def is_at_epoch_end(self) -> bool:
        """Whether the epoch's last step is done; its evaluation and checkpoint may still be under way."""
        return self.steps_per_epoch > 0 and self.step >= (self.epoch + 1) * self.steps_per_epoch

    def start(self, record: Mapping[str, Any]) -> None:
        """Take in a `start` record: a new attempt."""
        self.epochs, self.steps_per_epoch = record["epochs"], record["steps_per_epoch"]
        self.first_step = self.step = record["first_step"]
        self.epoch = self.first_step // max(1, self.steps_per_epoch)
        self.started = self.now = record["time"]

    def advance(self, record: Mapping[str, Any]) -> None:
        """Take in a `step` or `epoch` record."""
        self.epoch, self.step, self.now = record["epoch"], record["step"], record["time"]
        known = ("loss", "images_per_s", "memory_mb")
        self.latest.update({key: record[key] for key in known if record.get(key) is not None})
        self.metrics = record.get("metrics") or self.metrics

    def parts(self) -> list[str]:
        """The numbers worth showing, the most wanted first."""
        parts = [f"step {self.step}/{self.total_steps}"]
        if "loss" in self.latest:
            parts.append(f"loss {number(self.latest['loss'])}")
        parts.extend(
            f"{name} {number(value)}" for name, value in main_metrics(self.metrics, self.metric_name, 1).items()
        )
        if "images_per_s" in self.latest:
            parts.append(f"{self.latest['images_per_s']:.0f} images/s")
        if self.eta_s is not None:
            parts.append(f"ETA {duration(self.eta_s)}")
        if "memory_mb" in self.latest:
            parts.append(f"{self.latest['memory_mb']:.0f} MB")
        return parts


class Display:
    """Shows a run. Every method may be called from any thread."""

    def __init__(self, plain: bool = False, stream: TextIO | None = None, console: Console | None = None) -> None:
        """Choose how to show.

        Args:
            plain: lines only, also in a terminal.
            stream: where to write; None = standard output.
            console: instead of `stream`, for tests.
        """
        self._console = console or Console(file=stream or sys.stdout, highlight=False)
        self._is_plain = plain or not self._console.is_terminal
        self._stage: StageProgress | None = None
        self._last_line = 0.0
        self._live: Live | None = None
        self._board: list[str] = []
        """Lines of a table that changes, shown instead of a bar."""

    def __enter__(self) -> Self:
        if not self._is_plain:
            self._live = Live(
                console=self._console, get_renderable=self._render, refresh_per_second=REFRESH_PER_S, transient=True
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stage = None
        if self._live:
            self._live.stop()
            self._live = None

    def stage_started(self, name: str, reason: str, metric: str | None = None) -> None:
        """Begin to show a stage; `metric` is the one shown while it runs (None = its first)."""
        self._show(StageProgress(name, reason, metric))
        self._last_line = 0.0
        self.message(f"{name}: {reason}")

    def stage_skipped(self, name: str, reason: str) -> None:
        """Say that a stage need not run, and why."""
        self.message(f"{name}: skipped ({reason})")

    def record(self, record: Mapping[str, Any]) -> None:
        """Take in one journal record of the current stage; unknown kinds are passed over."""
        stage, kind = self._stage, record.get("kind")
        if kind == "event" and record.get("name") in BOARD_EVENTS and not self._is_plain:
            return
        if kind == "event" and record.get("name") not in SILENT_EVENTS:
            self.message(f"{stage.name if stage else 'run'}: {record['message']}")
        elif kind == "board":
            self._board = list(record["lines"])
        elif stage and kind == "start":
            stage.start(record)
            self.message(f"{stage.name}: {_start_line(record)}")
        elif stage and kind in ("step", "epoch"):
            stage.advance(record)
            self._plain_line(stage, is_epoch=kind == "epoch")

    def message(self, text: str) -> None:
        """Show a line that stays."""
        self._console.print(Text(text), soft_wrap=True)

    def stage_finished(
        self, name: str, metrics: Mapping[str, float], duration_s: float | None = None, outcome: str = ""
    ) -> None:
        """Say that a stage is done, with its first metrics, or with another outcome in words."""
        took = f" in {duration(duration_s)}" if duration_s is not None else ""
        wanted = self._stage.metric_name if self._stage else None
        numbers = "".join(f"  {key} {number(value)}" for key, value in main_metrics(metrics, wanted).items())
        self._show(None)
        self.message(f"{name}: done{took}{numbers}{f'; {outcome}' if outcome else ''}")

    def summary(
        self,
        rows: Sequence[SummaryRow],
        registered: Sequence[str],
        pictures: Sequence[Path],
        next_command: str | None,
    ) -> None:
        """Show how the run ended: metrics, what was registered, where the pictures lie, and what to type next."""
        self._show(None)
        if rows:
            changes = [_change(change) for _, _, change in rows]
            head = ("metric", "value", "vs champion") if any(changes) else ("metric", "value")
            body = [(name, number(value), change) for (name, value, _), change in zip(rows, changes, strict=True)]
            self.message("\n" + aligned(head, [row[: len(head)] for row in body]))
        for title, lines in (("registered", registered), ("pictures", pictures)):
            if lines:
                self.message(f"\n{title}:\n" + "\n".join(f"  {line}" for line in lines))
        if next_command:
            self.message(f"\nnext: {next_command}")

    def _show(self, stage: StageProgress | None) -> None:
        """Change what the live region shows, at once: the next message would otherwise repeat its old state."""
        self._stage, self._board = stage, []
        if self._live:
            self._live.refresh()

    def _plain_line(self, stage: StageProgress, is_epoch: bool) -> None:
        is_slow = stage.now - max(self._last_line, stage.started) >= PLAIN_INTERVAL_S
        is_due = is_epoch or (is_slow and not stage.is_at_epoch_end)  # the epoch's own line follows at its end
        if self._is_plain and is_due:
            self._last_line = stage.now
            self.message("  ".join([f"{stage.name}: epoch {stage.epoch + 1}/{stage.epochs}", *stage.parts()]))

    def _render(self) -> RenderableType:
        stage = self._stage
        if stage is None:
            return Text("")
        if self._board:
            lines = [f"{stage.name}  {self._board[0]}", *self._board[1:MOST_BOARD_LINES]]
            return Group(*map(_one_line, lines[: max(1, self._console.height - 1)]))
        if not stage.total_steps:
            return _one_line(f"{stage.name}  working")
        bar = Table.grid(padding=(0, 2))
        bar.add_row(
            _one_line(stage.name),
            ProgressBar(total=stage.total_steps, completed=stage.step, width=BAR_WIDTH),
            _one_line(f"epoch {min(stage.epoch + 1, stage.epochs)}/{stage.epochs}"),
        )
        return Group(bar, _one_line("  ".join(stage.parts())))


def duration(seconds: float) -> str:
    """Return `m:ss`, or `h:mm:ss` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _start_line(record: Mapping[str, Any]) -> str:
    again = (
        f"attempt {record['attempt'] + 1} goes on after step {record['first_step']}, " if record["first_step"] else ""
    )
    workers = record["world_size"]
    where = f"{workers} worker{'s' if workers != 1 else ''} on {record['device']} in {record['precision']}"
    size = f", {record['parameters']:,} parameters" if record.get("parameters") else ""
    images = f", {record['train_images']:,} images" if record.get("train_images") else ""
    return f"{again}{where}{size}{images}"


def _one_line(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")


def _change(change: float | None) -> str:
    return "" if change is None else f"{change:+.4f}"
