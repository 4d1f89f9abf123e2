"""The Python API for notebooks and tests: the same as the command line, returning values instead of printing."""

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.conductor import RunOptions, RunSummary, run_pipeline
from orchestrator.pipeline.load import LoadedPipeline
from orchestrator.terminal import Display
from orchestrator.tracking.location import tracking_uri

if TYPE_CHECKING:
    from deploy.predictor import Predictor

DEFAULT_STORAGE = Path("runs")


def run(loaded: LoadedPipeline, *, fresh: bool = False, only: str | None = None, plain: bool = True) -> RunSummary:
    """Run a pipeline that `load_pipeline` returned.

    Args:
        loaded: the pipeline.
        fresh: run every stage again, even where its result is kept.
        only: run this stage and those it needs, and no other.
        plain: print plain lines instead of a progress display.

    Raises:
        OrchestratorError: as the command line would report it.
    """
    with Display(plain=plain) as display:
        return run_pipeline(loaded, RunOptions(fresh=fresh, only=only), display)


def load_model(
    address: str, *, storage: Path | str = DEFAULT_STORAGE, uri: str | None = None, device: str = "cpu"
) -> "Predictor":
    """Return a predictor for a registered model, `models:/NAME@ALIAS` or `models:/NAME/VERSION`.

    Args:
        address: the model.
        storage: the folder of results whose registry is meant.
        uri: an MLflow server or database, instead of `storage`.
        device: where to predict, for example `cuda`.

    Raises:
        RegistryError: if there is no such model, version or alias.
    """
    # Here, not above: torch reads its thread settings when it is imported, and `run` sets them first.
    from deploy.predictor import load_predictor
    from orchestrator.registry import resolve_model

    return load_predictor(resolve_model(address, tracking_uri(Path(storage), uri)), device)
