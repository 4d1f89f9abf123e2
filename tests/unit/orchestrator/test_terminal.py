"""The progress display: plain lines in a pipe, one live region in a terminal."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.terminal import Display, StageProgress, duration


def start(time: float = 0.0, first_step: int = 0, attempt: int = 0) -> dict[str, Any]:
    return {
        "kind": "start", "attempt": attempt, "time": time, "world_size": 2, "device": "cpu", "precision": "bf16",
        "epochs": 3, "steps_per_epoch": 10, "first_step": first_step, "parameters": 1_200_000, "train_images": 292,
    }  # fmt: skip


def step(number: int, time: float, **more: Any) -> dict[str, Any]:
    numbers = {"loss": 1.25, "images_per_s": 85.4, "memory_mb": 612.3, **more}
    return {"kind": "step", "time": time, "epoch": (number - 1) // 10, "step": number, **numbers}


def epoch(number: int, time: float, **metrics: float | None) -> dict[str, Any]:
    return {"kind": "epoch", "time": time, "epoch": number, "step": 10 * (number + 1), "metrics": metrics}


def shown(*records: dict[str, Any]) -> list[str]:
    stream = io.StringIO()
    with Display(stream=stream) as display:
        display.stage_started("detector", "never run before", "map")
        for record in records:
            display.record(record)
    return stream.getvalue().splitlines()


def test_a_pipe_gets_one_line_per_epoch_and_seldom_one_between() -> None:
    lines = shown(
        start(),
        step(1, 1.0),
        step(2, 2.0),
        step(5, 10.5),
        step(6, 12.0),
        epoch(0, 20.0, map_50=0.5, map=0.25),
        step(11, 21.0),
    )
    assert lines == [
        "detector: never run before",
        "detector: 2 workers on cpu in bf16, 1,200,000 parameters, 292 images",
        "detector: epoch 1/3  step 5/30  loss 1.2500  85 images/s  ETA 0:52  612 MB",
        "detector: epoch 1/3  step 10/30  loss 1.2500  map 0.2500  85 images/s  ETA 0:40  612 MB",
    ]


def test_the_end_of_an_epoch_is_told_once() -> None:
    lines = shown(start(), step(10, 20.0), epoch(0, 24.0), step(20, 44.0), step(21, 55.0))
    assert [line.split("  ")[1] for line in lines[2:]] == ["step 10/30", "step 21/30"]


def test_after_the_last_step_there_is_no_time_to_go() -> None:
    lines = shown(start(), step(30, 60.0), epoch(2, 65.0))
    assert lines[-1] == "detector: epoch 3/3  step 30/30  loss 1.2500  85 images/s  612 MB"


def test_a_restart_counts_from_where_it_goes_on() -> None:
    lines = shown(start(), step(10, 10.0), start(100.0, first_step=8, attempt=1), epoch(0, 104.0))
    assert lines[-2].startswith("detector: attempt 2 goes on after step 8, 2 workers")
    assert "ETA 0:40" in lines[-1], "two steps took four seconds, twenty are left"


def test_events_are_told_and_checkpoints_are_not() -> None:
    lines = shown(
        {"kind": "event", "name": "checkpoint", "message": "saved"},
        {"kind": "event", "name": "restored", "message": "went back to step 40"},
        {"kind": "news", "of": "another release"},
    )
    assert lines[1:] == ["detector: went back to step 40"]


def test_missing_numbers_leave_gaps_not_errors() -> None:
    lines = shown(start(), step(1, 11.0, loss=None, images_per_s=None, memory_mb=None), epoch(0, 12.0, map=None))
    assert lines[-1] == "detector: epoch 1/3  step 10/30  ETA 0:24"


@pytest.mark.parametrize("width", [20, 40, 200])
def test_a_terminal_shows_two_lines_at_most_that_fit(width: int) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None, legacy_windows=False)
    display = Display(console=console)
    display.stage_started("detector", "never run before")
    display.record(start())
    display.record(step(12, 20.0))
    with console.capture() as capture:
        console.print(display._render())
    lines = capture.get().splitlines()
    assert len(lines) == 2
    assert all(len(line) <= width for line in lines)
    if width == 200:
        assert "epoch 2/3" in lines[0]
        assert "step 12/30  loss 1.2500  85 images/s  ETA 0:30  612 MB" in lines[1]


def test_the_live_region_is_gone_after_the_run_and_messages_stay() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80)
    with pytest.raises(KeyboardInterrupt), Display(console=console) as display:
        display.stage_started("detector", "never run before")
        display.record(start())
        raise KeyboardInterrupt
    assert "never run before" in stream.getvalue()
    assert stream.getvalue().endswith("\x1b[2K"), "the last thing written erases the region"


def test_a_finished_stage_is_not_drawn_again() -> None:
    stream = io.StringIO()
    with Display(console=Console(file=stream, force_terminal=True, width=80, color_system=None)) as display:
        display.stage_started("detector", "never run before")
        display.record(start())
        display.stage_finished("detector", {"map": 0.5})
        assert "epoch" not in stream.getvalue().partition("done")[2]


def test_plain_is_plain_in_a_terminal_too() -> None:
    stream = io.StringIO()
    with Display(plain=True, console=Console(file=stream, force_terminal=True, color_system=None)) as display:
        display.stage_started("a", "b")
    assert stream.getvalue() == "a: b\n"


def test_brackets_in_a_message_are_no_markup_and_long_lines_do_not_break() -> None:
    stream = io.StringIO()
    text = "[red]" + "x" * 300
    Display(stream=stream).message(text)
    assert stream.getvalue() == f"{text}\n"


def test_a_finished_stage_shows_its_first_metrics() -> None:
    stream = io.StringIO()
    display = Display(stream=stream)
    display.stage_started("test", "why", "map")
    display.stage_finished("test", {"map_50": 0.9, "map": 0.6, "ap/RBC": 0.7, "mar_1": 0.2, "mar_10": 0.3}, 75.0)
    display.stage_skipped("register", "done before")
    assert stream.getvalue().splitlines()[1:] == [
        "test: done in 1:15  map 0.6000  map_50 0.9000  mar_1 0.2000",
        "register: skipped (done before)",
    ]


def test_a_stage_without_metrics_says_what_it_did() -> None:
    stream = io.StringIO()
    display = Display(stream=stream)
    display.stage_finished("register", {}, 2.0, "registered cells version 2")
    assert stream.getvalue() == "register: done in 0:02; registered cells version 2\n"


def test_the_summary_has_table_pictures_and_next_command() -> None:
    stream = io.StringIO()
    rows = [("test.map", 0.61, 0.012), ("test.map_50", 0.92, None)]
    Display(stream=stream).summary(rows, ["cells version 2"], [Path("/r/pr.png")], "orchestrator ui")
    assert stream.getvalue().splitlines() == [
        "",
        "metric       value   vs champion",
        "test.map     0.6100  +0.0120",
        "test.map_50  0.9200",
        "",
        "registered:",
        "  cells version 2",
        "",
        "pictures:",
        "  /r/pr.png",
        "",
        "next: orchestrator ui",
    ]


def test_a_summary_without_a_champion_has_two_columns() -> None:
    stream = io.StringIO()
    Display(stream=stream).summary([("test.map", 0.5, None)], [], [], None)
    assert stream.getvalue() == "\nmetric    value\ntest.map  0.5000\n"


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (3600, "1:00:00"), (7325, "2:02:05")])
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_progress_before_the_first_step_has_no_eta() -> None:
    progress = StageProgress("a", "b")
    assert progress.eta_s is None
    progress.start(start())
    assert progress.eta_s is None


BOARD = {"kind": "board", "lines": ["3/9 trials", "trial  top1", *(f"{number}      0.5" for number in range(1, 10))]}
TRIAL = {"kind": "event", "name": "trial", "message": "trial 4 runs: lr=0.1"}


def test_a_table_that_changes_fits_a_low_terminal() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=40, height=6, color_system=None)
    display = Display(console=console)
    display.stage_started("search", "never run before")
    display.record(BOARD)
    with console.capture() as capture:
        console.print(display._render())
    lines = capture.get().splitlines()
    assert len(lines) == 5 and lines[0] == "search  3/9 trials"


def test_what_a_table_shows_is_a_line_in_a_pipe_only() -> None:
    assert shown(BOARD, TRIAL)[1:] == ["detector: trial 4 runs: lr=0.1"]
    stream = io.StringIO()
    with Display(console=Console(file=stream, force_terminal=True, width=80, color_system=None)) as display:
        display.stage_started("search", "never run before")
        display.record(TRIAL)
    assert "runs" not in stream.getvalue()
