"""A sweep in words: its trials as rows, and how far it is."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.text_table import aligned, number
from orchestrator.tune.goals import Goals, is_known, ranked
from orchestrator.tune.ledger import Trial
from orchestrator.tune.settings import GridSearch, ManualSearch, SweepSettings
from orchestrator.tune.space import size
from orchestrator.tune.words import brief, short_names, shown

MAX_REASON = 60


def planned_trials(settings: SweepSettings, trials: Mapping[int, Trial]) -> int:
    """How many trials there will be, those that were added included."""
    added = sum(trial.origin == "user" for trial in trials.values())
    if isinstance(settings.search, GridSearch):
        return size(settings.space) + added
    if isinstance(settings.search, ManualSearch):
        return len(settings.search.trials) + added
    return settings.num_samples + added


def rows(trials: Iterable[Trial], goals: Goals, epochs: int) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the table, the best trial first, then those without a result."""
    trials = list(trials)
    keys = list(dict.fromkeys(key for trial in trials for key in trial.values))
    ranking = [trial.number for trial in ranked(trials, goals)]
    ordered = sorted(trials, key=lambda t: (t.number not in ranking, _place(ranking, t.number), t.number))
    head = ["trial", "status", "epoch", *goals.names, *short_names(keys).values(), "s", "why"]
    body = [
        [
            str(trial.number) + ("*" if ranking[:1] == [trial.number] else ""),
            trial.status,
            f"{trial.epoch}/{_length(trial, epochs)}",
            *_numbers(trial, goals),
            *(shown(trial.values[key]) if key in trial.values else "" for key in keys),
            f"{trial.running_s:.0f}",
            brief(trial.reason, MAX_REASON),
        ]
        for trial in ordered
    ]
    return head, body


def table(trials: Iterable[Trial], goals: Goals, epochs: int, width: int | None = None) -> str:
    """Return the trials as an aligned table; `*` marks the best."""
    head, body = rows(trials, goals, epochs)
    return aligned(head, body, width)


def headline(
    settings: SweepSettings,
    trials: Mapping[int, Trial],
    goals: Goals,
    epochs: int,
    concurrency: int = 1,
    budget_left_s: float | None = None,
) -> str:
    """Return one line: how many trials are over, what is best, and for how long it will go on."""
    total = planned_trials(settings, trials)
    over = [trial for trial in trials.values() if trial.status not in ("waiting", "running", "paused")]
    running = [trial for trial in trials.values() if trial.status == "running"]
    parts = [f"{len(over)}/{total} trials", f"{len(running)} running"]
    best = _best_so_far(trials, goals)
    if best is not None:
        parts.append(f"best {goals.names[0]} {number(best[1])} (trial {best[0]})")
    left_s = _left_s(over, running, total, epochs) if running or len(over) < total else None
    if left_s is not None:
        expected = left_s / max(1, concurrency)
        parts.append(f"ETA {_duration(expected if budget_left_s is None else max(0.0, min(expected, budget_left_s)))}")
    if budget_left_s is not None:
        parts.append(f"{_duration(max(0.0, budget_left_s))} left")
    return "  ".join(parts)


def _best_so_far(trials: Mapping[int, Trial], goals: Goals) -> tuple[int, float] | None:
    """Number and value of the best trial, those that run counted as they stand."""
    known = [(trial.number, trial.result[0]) for trial in ranked(trials.values(), goals)[:1] if trial.result]
    running = [trial for trial in trials.values() if trial.status == "running" and trial.results]
    known += [(trial.number, trial.results[trial.epoch][0]) for trial in running]
    finite = [item for item in known if is_known([item[1]])]
    return max(finite, key=lambda item: goals.score(item[1]), default=None)


def _left_s(over: list[Trial], running: list[Trial], total: int, epochs: int) -> float | None:
    """Seconds of trials to go: by those that are over, or before the first end by the epochs so far; None = unknown."""
    so_far = {trial.number: time.time() - (trial.attempt_started or time.time()) for trial in running}
    if over:
        mean_s = sum(trial.running_s for trial in over) / len(over)
        return max(0.0, (total - len(over)) * mean_s - sum(min(mean_s, spent) for spent in so_far.values()))
    done = sum(trial.epoch for trial in running)
    return sum(so_far.values()) / done * (total * epochs - done) if done else None


def _length(trial: Trial, epochs: int) -> int:
    """Epochs of a full trial, where they are searched or were changed too."""
    return int({"loop.epochs": epochs, **trial.values, **trial.resources}["loop.epochs"])


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def _numbers(trial: Trial, goals: Goals) -> list[str]:
    values = trial.result if trial.result is not None else trial.results.get(trial.epoch, [])
    cells = [number(value) if is_known([value]) else "" for value in values]
    return [*cells, *[""] * (len(goals.names) - len(cells))]


def _place(ranking: list[int], number_: int) -> int:
    return ranking.index(number_) if number_ in ranking else len(ranking)


def to_json(settings: Mapping[str, Any], trials: Mapping[int, Trial], goals: Goals) -> dict[str, Any]:
    """Return the sweep as plain data."""
    best = ranked(trials.values(), goals)
    return {
        "metric": list(goals.names),
        "mode": list(goals.modes),
        "best": best[0].number if best else None,
        "search": settings.get("search"),
        "scheduler": settings.get("scheduler"),
        "trials": [trial.to_json() for trial in trials.values()],
    }
