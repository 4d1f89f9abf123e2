"""A bundle as MLflow's pyfunc flavour loads it: `loader_module: deploy.pyfunc`, no pickle and no MLflow import.

`predict` takes image paths or arrays and returns one record (a dict) per image; see `PyfuncModel.predict`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deploy.predictor import Predictor, load_predictor
from engine.bundle import MANIFEST_FILE
from foundation.errors import DataError

IMAGE_COLUMN = "image"


class PyfuncModel:
    """What `mlflow.pyfunc.load_model` wraps."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Predict for every image.

        Args:
            model_input: a path, a list of paths or of (H, W, 3) uint8 RGB arrays, one such array, a
                (B, H, W, 3) array, a list of `{"image": PATH}`, or a DataFrame with a column `image` of paths.
            params: of the task's predictor: `score_threshold`, and for a classifier `top_k`; None = its default.

        Returns:
            One dict per image in the order given, as the task's predictor answers.
        """
        images = images_from_input(model_input)
        given = {name: value for name, value in (params or {}).items() if value is not None}
        return self.predictor.predict(images, **given)


def images_from_input(model_input: Any) -> list[Any]:
    """Turn any accepted input into a list of paths and arrays.

    Raises:
        DataError: if it is none of the accepted kinds.
    """
    if isinstance(model_input, str | Path):
        return [model_input]
    if isinstance(model_input, np.ndarray) and model_input.ndim == 3:
        return [model_input]
    if hasattr(model_input, "columns"):
        if IMAGE_COLUMN not in model_input.columns:
            found = ", ".join(map(str, model_input.columns))
            raise DataError(f"the table has the columns {found}; expected a column {IMAGE_COLUMN!r} with image paths.")
        return list(model_input[IMAGE_COLUMN])
    if isinstance(model_input, dict) and IMAGE_COLUMN in model_input:
        return images_from_input(model_input[IMAGE_COLUMN])
    if isinstance(model_input, Sequence | np.ndarray):
        return [image for item in model_input for image in _images_of(item)]
    raise DataError(
        f"cannot take images from {type(model_input).__name__}; give a path, a list of paths, uint8 RGB arrays or a "
        f"table with a column {IMAGE_COLUMN!r}."
    )


def _images_of(item: Any) -> list[Any]:
    return images_from_input(item) if isinstance(item, dict) else [item]


def _load_pyfunc(path: str) -> PyfuncModel:
    """MLflow's entry point; `path` is the bundle folder, or holds it as `bundle`."""
    folder = Path(path)
    return PyfuncModel(load_predictor(folder if (folder / MANIFEST_FILE).is_file() else folder / "bundle"))
