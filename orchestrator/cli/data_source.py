"""Which data sets a `data` command means: those of a pipeline file, or a folder by itself."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from foundation.errors import ConfigError
from orchestrator.pipeline.load import LoadedPipeline, load_pipeline
from orchestrator.pipeline.problems import nearest


def data_sets(loaded: LoadedPipeline, name: str | None, split: str | None) -> Iterator[tuple[str, Any, list[str]]]:
    """Yield name, settings and splits of the data sets that are meant; fetch those that are not there yet.

    Raises:
        ConfigError: if there is none of this name.
    """
    from vision.formats import known_splits
    from vision.formats.download import ensure_present

    known = loaded.pipeline.data
    if name is not None and name not in known:
        hint = nearest(name, list(known)) or f"; data sets: {', '.join(known)}"
        raise ConfigError(f"--data {name}: there is no such data set in {loaded.path}{hint}")
    for title in [name] if name else list(known):
        settings = known[title]
        ensure_present(settings)
        yield title, settings, [split] if split else list(known_splits(settings))


def one_data_set(
    source: Path, overrides: tuple[str, ...], name: str | None, format_name: str | None
) -> tuple[str, Any, list[str]]:
    """Return name, settings and splits of the one data set that is meant.

    Args:
        source: a pipeline file, or the folder of a data set.
        overrides: of the pipeline file.
        name: of the data set in the pipeline file; None = its only one.
        format_name: of the folder.

    Raises:
        ConfigError: if it is not clear which is meant.
    """
    if source.is_dir():
        return _folder(source, overrides, name, format_name)
    if format_name is not None:
        raise ConfigError(f"--from {format_name} has no effect with a pipeline file; give a folder, or leave it out")
    loaded = load_pipeline(source, overrides)
    if name is None and len(loaded.pipeline.data) > 1:
        raise ConfigError(
            f"{loaded.path} has several data sets; choose one by --data: {', '.join(loaded.pipeline.data)}"
        )
    return next(data_sets(loaded, name, None))


def _folder(
    source: Path, overrides: tuple[str, ...], name: str | None, format_name: str | None
) -> tuple[str, Any, list[str]]:
    from pydantic import TypeAdapter

    from vision.formats import known_splits
    from vision.settings import DataSettings

    if name is not None or overrides:
        raise ConfigError(f"{source} is a folder, no pipeline file; --data and --set have no effect on it")
    if format_name is None:
        raise ConfigError(f"{source} is a folder; say its format by --from, or give a pipeline file that names it")
    settings: Any = TypeAdapter(DataSettings).validate_python({"format": format_name, "root": str(source.absolute())})
    return source.absolute().name, settings, list(known_splits(settings))
