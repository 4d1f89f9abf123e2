"""From a YAML file to a checked `Pipeline`: all problems at once, all paths absolute, stages in order."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.pipeline import checks, graph
from orchestrator.pipeline.addresses import FILE_SCHEME, absolute, file_path
from orchestrator.pipeline.bases import fill_in_bases
from orchestrator.pipeline.messages import described, explain
from orchestrator.pipeline.overrides import Override, apply_overrides
from orchestrator.pipeline.problems import KeyPath, Problem, ProblemsFound
from orchestrator.pipeline.settings import Pipeline
from orchestrator.pipeline.source import Source, read_source

_RELATIVE_SQLITE = "sqlite:///"


@dataclass(frozen=True)
class LoadedPipeline:
    """A pipeline file that was read, checked and resolved."""

    path: Path
    """The YAML file, absolute."""
    pipeline: Pipeline
    order: tuple[str, ...]
    """Names of the stages, each after those it needs."""
    needs: Mapping[str, tuple[str, ...]]
    """For every stage the stages it refers to."""
    overrides: tuple[str, ...]
    """`KEY=VALUE` as given with `--set`."""
    text: str
    """The file as written; environment variables are not filled in."""

    def resolved(self) -> dict[str, Any]:
        """Return the whole pipeline with all defaults, overrides and absolute paths, as plain JSON data."""
        return self.pipeline.model_dump(mode="json")


def load_pipeline(path: Path | str, overrides: Sequence[str] = ()) -> LoadedPipeline:
    """Read, check and resolve a pipeline file.

    Args:
        path: the YAML file.
        overrides: `KEY=VALUE` each, such as `stages.detector.loop.epochs=3`.

    Raises:
        ProblemsFound: with all problems of the file and the overrides at once.
        ConfigError: if the file cannot be read.
    """
    source = read_source(Path(path))
    if not isinstance(source.data, dict):
        message = (
            f"expected the keys of a pipeline (name, data, stages), got {described(source.data)}; "
            "`orchestrator init` writes a file to start from"
        )
        raise ProblemsFound([*source.problems, Problem(source.name, 1, (), message)])
    applied, refused = apply_overrides(source.data, overrides)
    folder = Path(path).resolve().parent
    unfounded = fill_in_bases(source.data)
    problems = [*source.problems, *refused, *_found(source, applied, folder, unfounded)]
    if problems:
        raise ProblemsFound(problems)
    needs = graph.dependencies(source.data["stages"])
    return LoadedPipeline(
        path=Path(path).resolve(),
        pipeline=_with_absolute_paths(Pipeline.model_validate(source.data), folder),
        order=graph.order(needs)[0],
        needs=needs,
        overrides=tuple(overrides),
        text=source.text,
    )


def _found(
    source: Source, overrides: Sequence[Override], folder: Path, unfounded: Sequence[tuple[KeyPath, str]]
) -> Iterator[Problem]:
    """Yield the problems of the values, each located in the file or at the override that brought it.

    Args:
        unfounded: faults of bases, by which nothing else is known of their stages.
    """
    faults = [*_type_faults(source.data), *checks.find_faults(source.data, folder)]
    baseless = {path[:2] for path, _ in unfounded}
    for path, message in [*unfounded, *(fault for fault in faults if fault[0][:2] not in baseless)]:
        if path in source.unresolved:
            continue
        override = _responsible(path, overrides)
        if override:
            yield Problem(override.origin, None, path, message)
        else:
            yield Problem(source.name, source.line(path), path, message)


def _type_faults(data: Any) -> list[tuple[KeyPath, str]]:
    try:
        Pipeline.model_validate(data)
    except ValidationError as error:
        return explain(error, data)
    return []


def _responsible(path: KeyPath, overrides: Sequence[Override]) -> Override | None:
    """Return the last override that set `path` or something it lies in."""
    return next((item for item in reversed(overrides) if path[: len(item.path)] == item.path), None)


def _with_absolute_paths(pipeline: Pipeline, folder: Path) -> Pipeline:
    """Return the pipeline with absolute paths; which keys were given, and which are defaults, stays known."""
    content = _resolve({"storage": pipeline.storage} | pipeline.model_dump(exclude_unset=True), folder)
    uri = pipeline.tracking.uri
    if uri and uri.startswith(_RELATIVE_SQLITE):
        content["tracking"]["uri"] = f"{_RELATIVE_SQLITE}{absolute(Path(uri.removeprefix(_RELATIVE_SQLITE)), folder)}"
    return Pipeline.model_validate(content)


def _resolve(value: Any, folder: Path) -> Any:
    """Make every path and every `file:` address in `value` absolute."""
    if isinstance(value, Path):
        return absolute(value, folder)
    if isinstance(value, str) and value.startswith(FILE_SCHEME):
        return f"{FILE_SCHEME}{file_path(value, folder)}"
    if isinstance(value, dict):
        return {key: _resolve(inner, folder) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_resolve(inner, folder) for inner in value)
    return value
