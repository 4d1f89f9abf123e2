"""What a run would do, stage by stage, and why: `run`, `continue` or `skip`."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.catalog import entry, load
from foundation.errors import DataError
from orchestrator.execution.class_checks import check_classes
from orchestrator.execution.folders import StageRecord, latest_stage_record, load_stage_record, stage_folder
from orchestrator.pipeline.addresses import FILE_SCHEME, REGISTRY_SCHEME
from orchestrator.pipeline.fingerprint import code_version, fingerprint_of, fingerprint_parts
from orchestrator.pipeline.graph import strings
from orchestrator.pipeline.load import LoadedPipeline
from orchestrator.pipeline.settings import DataStage, EnsembleStage, EvaluateStage, Stage, TrainStage, TuneStage
from orchestrator.tune.ledger import read_trials
from vision.formats.digest import data_digest
from vision.formats.download import ensure_present

ANY_READER = "vision.formats:read_split"
MAX_CHANGES_TOLD = 4
MAX_SHOWN_VALUE = 40
ENDED = {"interrupted": "was interrupted", "failed": "failed"}


@dataclass(frozen=True)
class PlannedStage:
    """One stage of a run to come."""

    name: str
    kind: str
    action: str
    """`run`, `continue` or `skip`."""
    reason: str
    folder: Path
    fingerprint: str
    parts: Mapping[str, Any]
    record: StageRecord | None
    """What lies in the folder already."""

    @property
    def announcement(self) -> str:
        """The line with which the stage begins, where it is not skipped."""
        return f"continuing {self.reason}" if self.action == "continue" else f"running ({self.reason})"


def plan(
    loaded: LoadedPipeline,
    *,
    fresh: bool = False,
    only: str | None = None,
    resolve_version: Callable[[str], str] | None = None,
) -> list[PlannedStage]:
    """Decide for every stage whether it runs, in the order in which they would run.

    The annotations of all stages that run are read, so that a fault in the last one's data stops the first one already.

    Args:
        loaded: the checked pipeline.
        fresh: run everything again.
        only: leave out all stages but this one and those it needs.
        resolve_version: tells for a `models:/` address which version it stands for now.

    Raises:
        DataError: if the data of a stage that would run is faulty.
        RegistryError: if an address names no model.
    """
    wanted = _needed_for(loaded, only) if only else set(loaded.order)
    planned: dict[str, PlannedStage] = {}
    for name in loaded.order:
        if name in wanted:
            planned[name] = _plan_stage(loaded, name, planned, fresh, resolve_version)
    to_run = [name for name, stage in planned.items() if stage.action != "skip"]
    _check_data(loaded, to_run)
    check_classes(loaded, to_run)
    return list(planned.values())


def _needed_for(loaded: LoadedPipeline, name: str) -> set[str]:
    return {name}.union(*(_needed_for(loaded, upstream) for upstream in loaded.needs[name]))


def splits_of(stage: Stage) -> tuple[str, ...]:
    """The splits of its data set that a stage reads."""
    if isinstance(stage, TrainStage):
        return tuple(split for split in (stage.train_split, stage.val_split) if split)
    if isinstance(stage, TuneStage):
        return splits_of(stage.base)
    return (stage.split,) if isinstance(stage, EvaluateStage | EnsembleStage) else ()


def registry_addresses(stage: Stage) -> list[str]:
    """Return the `models:/` addresses that a stage takes a model or weights from."""
    texts = strings(stage.model_dump(mode="json"), ())
    holders = ("model", "weights", "models")
    return [text for path, text in texts if {*path[-2:]} & {*holders} and text.startswith(REGISTRY_SCHEME)]


def _digests(loaded: LoadedPipeline, stage: Stage) -> dict[str, str]:
    if not isinstance(stage, DataStage):
        return {}
    data = loaded.pipeline.data[stage.data]
    with _naming(loaded, stage.data):
        ensure_present(data)
        return {split: data_digest(data, split) for split in splits_of(stage)}


def _check_data(loaded: LoadedPipeline, names: Iterable[str]) -> None:
    stages = [loaded.pipeline.stages[name] for name in names]
    readers = [stage for stage in stages if isinstance(stage, DataStage)]
    for data, split, reader in dict.fromkeys(
        (stage.data, split, _reader_of(stage)) for stage in readers for split in splits_of(stage)
    ):
        with _naming(loaded, data):
            load(reader)(loaded.pipeline.data[data], split)


def _reader_of(stage: DataStage) -> str:
    """Say how a stage's splits are read; one of trained models learns its task from them only when it runs."""
    return entry(stage.task).reader if isinstance(stage, TrainStage | TuneStage) else ANY_READER


@contextmanager
def _naming(loaded: LoadedPipeline, name: str) -> Iterator[None]:
    """Let errors of a data set say where in the file it stands."""
    try:
        yield
    except DataError as error:
        raise DataError(f"data.{name} of {loaded.path.name}: {error}") from error


def _plan_stage(
    loaded: LoadedPipeline,
    name: str,
    planned: Mapping[str, PlannedStage],
    fresh: bool,
    resolve_version: Callable[[str], str] | None,
) -> PlannedStage:
    pipeline = loaded.pipeline
    stage = pipeline.stages[name]
    data = pipeline.data[stage.data] if isinstance(stage, DataStage) else None
    upstream = {needed: planned[needed].fingerprint for needed in loaded.needs[name]}
    if resolve_version is not None:
        upstream |= {address: resolve_version(address) for address in registry_addresses(stage)}
    parts = fingerprint_parts(
        stage,
        seed=pipeline.seed,
        upstream=upstream,
        code=code_version(),
        data=data,
        data_digests=_digests(loaded, stage),
    )
    fingerprint = fingerprint_of(parts)
    folder = stage_folder(pipeline.storage, pipeline.name, name, fingerprint)
    record = load_stage_record(folder)
    action, reason = _decide(loaded, name, parts, folder, record, fresh, planned)
    return PlannedStage(name, stage.kind, action, reason, folder, fingerprint, parts, record)


def _decide(
    loaded: LoadedPipeline,
    name: str,
    parts: Mapping[str, Any],
    folder: Path,
    record: StageRecord | None,
    fresh: bool,
    planned: Mapping[str, PlannedStage],
) -> tuple[str, str]:
    if fresh:
        return "run", "--fresh was given"
    if record is not None and record.status == "done":
        # An upstream stage that runs again under the same fingerprint gives the same result.
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.finished or record.started))
        return "skip", f"done on {when} with the same settings, inputs, data and code"
    if record is not None:
        return "continue", f"{_progress(folder)} (the last run of it {ENDED.get(record.status, 'never ended')})"
    previous = latest_stage_record(loaded.pipeline.storage, loaded.pipeline.name, name)
    if previous is None:
        return "run", "never run before"
    return "run", _what_changed(previous.parts, parts, planned)


def _progress(folder: Path) -> str:
    """Say from where a stage that did not end goes on."""
    trials = read_trials(folder).values()
    if trials:
        over = sum(trial.status not in ("waiting", "running", "paused") for trial in trials)
        return f"with {over} trials done"
    checkpoints = sorted((folder / "checkpoints").glob("step-*"))
    return f"from step {int(checkpoints[-1].name.removeprefix('step-'))}" if checkpoints else "from its start"


def _what_changed(before: Mapping[str, Any], now: Mapping[str, Any], planned: Mapping[str, PlannedStage]) -> str:
    old, new = _flat(before), _flat(now)
    changes = []
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) == new.get(key):
            continue
        section, _, rest = key.partition(".")
        if section == "upstream":
            changes.append(f"its input {rest} changed" if rest in planned else f"{rest} is another version")
        elif section == "data_digests":
            changes.append(f"the data of split {rest} changed")
        elif section == "code":
            changes.append("the orchestrator's code changed")
        else:
            changes.append(_change(rest or key, old.get(key), new.get(key)))
    told = "; ".join(changes[:MAX_CHANGES_TOLD])
    more = len(changes) - MAX_CHANGES_TOLD
    return (told + (f"; and {more} more" if more > 0 else "")) or "its record is of another release"


def _change(key: str, before: Any, now: Any) -> str:
    if all(isinstance(value, str) and value.startswith(FILE_SCHEME) for value in (before, now)):
        return f"the file of {key} changed"
    return f"{key} was {_shown(before)}, is {_shown(now)}"


def _shown(value: Any) -> str:
    """Return a value as it stands in a file, cut where it is long."""
    if isinstance(value, str) and value.startswith(FILE_SCHEME):
        return "a file"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= MAX_SHOWN_VALUE else f"{text[:MAX_SHOWN_VALUE]}…"


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {k: v for key, inner in value.items() for k, v in _flat(inner, f"{prefix}{key}.").items()}
    return {prefix.rstrip("."): value}
