"""From any bundle to a predictor; the task is found by the name in the bundle's manifest."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from engine.bundle import load_manifest
from engine.catalog import entry, load


class Predictor(Protocol):
    """What every task's bundle becomes."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        ...

    def predict(self, images: Sequence[Any], *, score_threshold: float = ...) -> list[dict[str, Any]]:
        """Answer for each image (a path, or (H, W, 3) uint8 RGB) with a dict that JSON can hold.

        Args:
            score_threshold: leave out what is less sure; each task has its own default and may have more arguments.
        """
        ...


def load_predictor(folder: Path, device: str = "cpu") -> Predictor:
    """Load a bundle, whatever its task.

    Raises:
        WeightsError: if the folder is no bundle, or its weights are damaged or do not fit.
        ConfigError: if this release does not know the bundle's task.
    """
    manifest = load_manifest(folder)
    predictor: Predictor = load(entry(manifest.task).predictor)(folder, device)
    return predictor
