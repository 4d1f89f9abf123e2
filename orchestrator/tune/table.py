"""A sweep in words: its trials as rows, and how far it is."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.text_table import aligned, number
from orchestrator.tune.goals import Goals, is_known, ranked
from orchestrator.tune.ledger import Trial
from orchestrator.tune.settings import GridSearch, ManualSearch, SweepSettings
from orchestrator.tune.space import size
from orchestrator.tune.words import short, shown

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
    head = ["trial", "status", "epoch", *goals.names, *(short(key) for key in keys), "s", "why"]
    body = [
        [
            str(trial.number) + ("*" if ranking[:1] == [trial.number] else ""),
            trial.status,
            f"{trial.epoch}/{epochs}",
            *_numbers(trial, goals),
            *(shown(trial.values[key]) if key in trial.values else "" for key in keys),
            f"{trial.running_s:.0f}",
            trial.reason[:MAX_REASON],
        ]
        for trial in ordered
    ]
    return head, body


def table(trials: Iterable[Trial], goals: Goals, epochs: int, width: int | None = None) -> str:
    """Return the trials as an aligned table; `*` marks the best."""
    head, body = rows(trials, goals, epochs)
    return aligned(head, body, width)


def headline(settings: SweepSettings, trials: Mapping[int, Trial], goals: Goals, concurrency: int = 1) -> str:
    """Return one line: how many trials are over, what is best, and for how long it will go on."""
    total = planned_trials(settings, trials)
    over = [trial for trial in trials.values() if trial.status not in ("waiting", "running", "paused")]
    running = [trial for trial in trials.values() if trial.status == "running"]
    parts = [f"{len(over)}/{total} trials", f"{len(running)} running"]
    best = ranked(trials.values(), goals)
    if best and best[0].result:
        parts.append(f"best {goals.names[0]} {number(best[0].result[0])} (trial {best[0].number})")
    if over:
        mean_s = sum(trial.running_s for trial in over) / len(over)
        spent = sum(min(mean_s, time.time() - (trial.attempt_started or time.time())) for trial in running)
        left = max(0.0, (total - len(over)) * mean_s - spent) / max(1, concurrency)
        parts.append(f"ETA {_duration(left)}")
    return "  ".join(parts)


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
