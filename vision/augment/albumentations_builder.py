"""Builds the albumentations transforms of a pipeline file and runs them with a sample's own generator."""

import random
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import albumentations
import cv2
import numpy as np
from albumentations.augmentations.crops.transforms import CropSizeError

from foundation.errors import ConfigError, DataError
from vision.augment.check import COMPOSITIONS, known_transforms, validate_transforms
from vision.augment.geometry import BoxedImage


class UserTransforms:
    """Albumentations transforms in sequence, without randomness of their own.

    Args:
        compose: transforms with pascal_voc boxes and a label field `labels`.
    """

    def __init__(self, compose: Any) -> None:
        self._compose = compose

    def __call__(self, sample: BoxedImage, rng: np.random.Generator) -> BoxedImage:
        """Transform a sample; every random number comes from `rng`, whatever was transformed before.

        Raises:
            DataError: if a transform cannot be applied to this image, as a crop that is larger than it.
        """
        result = _apply(self._compose, sample.image, rng, bboxes=sample.boxes, labels=sample.labels)
        return BoxedImage(
            np.ascontiguousarray(result["image"]),
            np.asarray(result["bboxes"], np.float32).reshape(-1, 4),
            np.asarray(result["labels"], np.int64).reshape(-1),
        )


class ImageTransforms:
    """The same for images alone.

    Args:
        compose: transforms without boxes.
    """

    def __init__(self, compose: Any) -> None:
        self._compose = compose

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Transform an (H, W, 3) uint8 image; every random number comes from `rng`.

        Raises:
            DataError: if a transform cannot be applied to this image, as a crop that is larger than it.
        """
        return np.ascontiguousarray(_apply(self._compose, image, rng)["image"])


def _apply(compose: Any, image: np.ndarray, rng: np.random.Generator, **objects: np.ndarray) -> dict[str, Any]:
    _seed(compose, rng)
    try:
        result: dict[str, Any] = compose(image=np.ascontiguousarray(image), **objects)
    except (CropSizeError, ValueError, cv2.error) as error:
        names = ", ".join(type(transform).__name__ for transform in compose.transforms)
        raise DataError(
            f"augment.transforms: {names} cannot be applied to an image of {image.shape[1]} x {image.shape[0]} pixels: "
            f"{' '.join(str(error).split())}. A crop cannot be larger than what it is given, which is `image_size`, or "
            "less where `augment.zoom` or `augment.crop` came before: make it smaller, or let the transform pad."
        ) from error
    return result


def _seed(compose: Any, rng: np.random.Generator) -> None:
    # Handing the generators over costs microseconds; `set_random_seed` builds two per transform instead.
    compose.set_random_state(rng, random.Random(int(rng.integers(2**63))))


def build_image_transforms(transforms: Sequence[Mapping[str, Mapping[str, Any]]]) -> ImageTransforms:
    """Build transforms given as `[{HorizontalFlip: {p: 0.5}}, ...]` for images without boxes.

    Raises:
        ConfigError: with every problem that `validate_transforms` finds.
    """
    _refuse(validate_transforms(transforms, with_boxes=False))
    return ImageTransforms(albumentations.Compose([_build(entry, with_boxes=False) for entry in transforms]))


def build_transforms(transforms: Sequence[Mapping[str, Mapping[str, Any]]], min_visibility: float) -> UserTransforms:
    """Build transforms given as `[{HorizontalFlip: {p: 0.5}}, ...]`.

    Args:
        transforms: albumentations' own names and arguments.
        min_visibility: a box that keeps less than this share of its area is dropped.

    Raises:
        ConfigError: with every problem that `validate_transforms` finds.
    """
    _refuse(validate_transforms(transforms))
    boxes = albumentations.BboxParams(
        format="pascal_voc",
        label_fields=["labels"],
        clip=True,
        filter_invalid_bboxes=True,
        min_visibility=min_visibility,
    )
    with warnings.catch_warnings():
        # With colour transforms alone the library finds it odd that there are boxes.
        warnings.filterwarnings("ignore", "Got processor for bboxes", UserWarning)
        compose = albumentations.Compose([_build(entry) for entry in transforms], bbox_params=boxes)
    return UserTransforms(compose)


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise ConfigError("augment.transforms: " + "; ".join(problems))


def _build(entry: Mapping[str, Mapping[str, Any]], with_boxes: bool = True) -> Any:
    [(name, arguments)] = entry.items()
    if name in COMPOSITIONS:
        inner = [_build(each, with_boxes) for each in arguments["transforms"]]
        return COMPOSITIONS[name](**{**arguments, "transforms": inner})
    return known_transforms(with_boxes)[name](**arguments)
