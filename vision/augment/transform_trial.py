"""Tries the albumentations transforms of a pipeline file on an image of the size that they will be given."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from foundation.errors import DataError
from vision.augment.albumentations_builder import build_image_transforms, build_transforms
from vision.augment.check import COMPOSITIONS
from vision.augment.geometry import BoxedImage

Transform = Mapping[str, Mapping[str, Any]]


def trial_problems(transforms: Sequence[Transform], image_size: tuple[int, int], with_boxes: bool = True) -> list[str]:
    """List the transforms that cannot be applied to an image of this (height, width), such as crops larger than it.

    Each is tried for itself and for certain, whatever its `p`.

    Args:
        transforms: sound by `vision.augment.check.validate_transforms`.
        image_size: of the image that the transforms are given.
        with_boxes: the images have boxes.

    Returns:
        One sentence per problem; empty when all is well.
    """
    height, width = image_size
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    box = np.array([[width / 4, height / 4, width / 2, height / 2]], np.float32)
    problems = []
    for entry in _leaves(transforms):
        try:
            _try(entry, BoxedImage(image, box, np.zeros(1, np.int64)), with_boxes)
        except DataError as error:
            problems.append(str(error).removeprefix("augment.transforms: "))
    return problems


def _leaves(transforms: Sequence[Transform]) -> Iterator[Transform]:
    for entry in transforms:
        [(name, arguments)] = entry.items()
        if name in COMPOSITIONS:
            yield from _leaves(arguments["transforms"])
        else:
            yield {name: {**arguments, "p": 1.0}}


def _try(entry: Transform, sample: BoxedImage, with_boxes: bool) -> None:
    rng = np.random.default_rng(0)
    if with_boxes:
        build_transforms([entry], 0.0)(sample, rng)
    else:
        build_image_transforms([entry])(sample.image, rng)
