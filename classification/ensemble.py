"""Joins trained classifiers into one bundle. Their answers to the images come from outside, by ordinary evaluations.

First `save_member` for each, and an evaluation of it on the split to fit on; then `save` with what they said.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from classification.combination import Combination, fit_combination, out_of_fold
from classification.ensemble_settings import EnsembleModelSettings
from classification.metrics import ClassificationMetric
from classification.predictions import Prediction
from classification.settings import ClassificationSettings
from classification.task import ClassificationTask
from engine.bundle import Manifest, load_bundle, load_manifest, save_bundle
from engine.catalog import OUT_OF_FOLD_FAMILY, WEIGHT_FAMILY
from engine.settings import EnsembleMethod
from foundation.errors import ConfigError

TASK = "classification"
METRICS_OUT_OF_FOLD = ("top1", "nll")


@dataclass(frozen=True, slots=True)
class EnsembleFit:
    """What joining gave."""

    metrics: dict[str, float]
    """Of the ensemble on the images it was fitted to; `out_of_fold/…` of images that it was not fitted to, and
    `weight/MEMBER` where members have weights."""
    predictions: list[dict[str, Any]]
    """What the ensemble says of each image, as an evaluation of its bundle would write it."""


class Ensemble:
    """Trained classifiers of the same classes, to be joined.

    Args:
        bundles: the members' bundles by a short name.

    Raises:
        ConfigError: if they are of other tasks or classes, or see other parts of an image.
        WeightsError: if one is no bundle.
    """

    def __init__(self, bundles: Mapping[str, Path]) -> None:
        self.bundles = dict(bundles)
        self.manifests = {name: load_manifest(bundle) for name, bundle in bundles.items()}
        _check_tasks(self.manifests)
        _check_classes(self.manifests)
        self.members = {
            name: ClassificationSettings.model_validate(manifest.settings) for name, manifest in self.manifests.items()
        }
        self.classes = next(iter(self.manifests.values())).classes
        self._sight = common_sight(self.members)

    def save_member(self, name: str, folder: Path) -> None:
        """Write a bundle of one member alone that gets the ensemble's image and answers in its order of classes."""
        self._save(folder, [name], Combination("averaging", 1, len(self.classes)), {}, {})

    def save(
        self,
        method: EnsembleMethod,
        said: Mapping[str, Path],
        data: dict[str, Any],
        split: str,
        seed: int,
        folder: Path,
        lineage: dict[str, Any],
    ) -> EnsembleFit:
        """Fit the rule and write the ensemble's bundle.

        Args:
            method: how the answers become one.
            said: the predictions file of each member's evaluation, of `save_member`.
            data: the settings of the data set, as JSON …
            split: … and its split, that they are about.
            seed: decides the folds that stacking's own accuracy is estimated with.
            folder: where the bundle goes.
            lineage: for the manifest.
        """
        probabilities, labels, sample_ids = read_answers([said[name] for name in self.bundles])
        combination = fit_combination(method, probabilities, labels)
        task = ClassificationTask.from_bundle(self._settings(list(self.bundles), method), self.classes, data)
        metric = task.build_metric(split)
        metrics = _measure(metric, sample_ids, combination(probabilities))
        predictions = metric.to_json()
        if method == "weighted_averaging":
            weights = combination.weights.tolist()
            metrics |= {f"{WEIGHT_FAMILY}{name}": value for name, value in zip(self.bundles, weights, strict=True)}
        if method == "stacking":
            unseen = _measure(task.build_metric(split), sample_ids, out_of_fold(method, probabilities, labels, seed))
            metrics |= {f"{OUT_OF_FOLD_FAMILY}{name}": unseen[name] for name in METRICS_OUT_OF_FOLD}
        self._save(folder, list(self.bundles), combination, metrics, lineage)
        return EnsembleFit(metrics, predictions)

    def _settings(self, names: Sequence[str], method: EnsembleMethod) -> dict[str, Any]:
        members = tuple(self.members[name].model_dump(mode="json") for name in names)
        model = EnsembleModelSettings(name="ensemble", method=method, members=members)
        return ClassificationSettings(model=model, **self._sight).model_dump(mode="json")

    def _save(
        self,
        folder: Path,
        names: Sequence[str],
        combination: Combination,
        metrics: dict[str, float],
        lineage: dict[str, Any],
    ) -> None:
        state: dict[str, Tensor] = {f"combination.{key}": value for key, value in combination.state_dict().items()}
        orders = []
        for index, name in enumerate(names):
            manifest, weights = load_bundle(self.bundles[name])
            state |= {f"members.{index}.{key}": tensor for key, tensor in weights.items()}
            orders.append([manifest.classes.index(label) for label in self.classes])
        state["orders"] = torch.tensor(orders)
        settings = self._settings(names, combination.method)
        preprocessing = ClassificationTask.from_bundle(settings, self.classes).preprocessing()
        save_bundle(folder, state, Manifest(TASK, settings, self.classes, preprocessing, metrics, lineage))


def common_sight(members: Mapping[str, ClassificationSettings]) -> dict[str, Any]:
    """Return the `image_size`, `resize` and `resize_size` of an image that holds what every member sees.

    It is as fine as the finest member's, and with `resize: crop` as wide as the widest one's: no member's image is
    enlarged, and members that are evaluated alike see exactly what they see alone.

    Raises:
        ConfigError: if some cut the middle out and others squash or letterbox, or their shapes differ.
    """
    first = next(iter(members))
    for name, member in members.items():
        for key, own, other in (
            ("resize", member.resize, members[first].resize),
            ("the shape of `image_size`", _shape(member.image_size), _shape(members[first].image_size)),
        ):
            if own != other:
                raise ConfigError(
                    f"{first} and {name} cannot see the same image: {key} is {other} of one and {own} of the other. "
                    "Join models that agree in it."
                )
    resize = members[first].resize
    if resize != "crop":
        return {"image_size": max(member.evaluation_size for member in members.values()), "resize": resize}
    finest = max(member.shortest_side for member in members.values())
    widest = max(members.values(), key=lambda member: member.evaluation_size[0] / member.shortest_side)
    height, width = (round(side * finest / widest.shortest_side) for side in widest.evaluation_size)
    return {"image_size": (height, width), "resize": resize, "resize_size": finest}


def read_answers(files: Sequence[Path]) -> tuple[Tensor, Tensor, np.ndarray]:
    """Read the predictions files of M members on one split.

    Returns:
        (N, M, K) float32 probabilities, (N,) int64 labels, and (N,) sample ids.
    """
    records = [json.loads(file.read_text()) for file in files]
    assert len({tuple((record["sample_id"], record["label"]) for record in one) for one in records}) == 1
    answers = np.array([[record["probabilities"] for record in one] for one in records], np.float32)
    labels = np.array([record["label"] for record in records[0]], np.int64)
    sample_ids = np.array([record["sample_id"] for record in records[0]], np.int64)
    return torch.from_numpy(answers.transpose(1, 0, 2).copy()), torch.from_numpy(labels), sample_ids


def _measure(metric: ClassificationMetric, sample_ids: np.ndarray, probabilities: Tensor) -> dict[str, float]:
    rows = probabilities.float().numpy()
    metric.update([Prediction(sample_id, row) for sample_id, row in zip(sample_ids.tolist(), rows, strict=True)])
    return {name: float(value) for name, value in metric.compute().items()}


def _check_tasks(manifests: Mapping[str, Manifest]) -> None:
    for name, manifest in manifests.items():
        if manifest.task != TASK:
            raise ConfigError(f"{name} is a model for {manifest.task}; an ensemble joins models for {TASK} only.")


def _check_classes(manifests: Mapping[str, Manifest]) -> None:
    (first, reference), *others = manifests.items()
    for name, manifest in others:
        if strangers := sorted(set(manifest.classes) ^ set(reference.classes)):
            raise ConfigError(
                f"{first} and {name} were trained for different classes: only one of them knows "
                f"{', '.join(strangers)}. Join models of the same classes; their order may differ."
            )


def _shape(image_size: tuple[int, int]) -> float:
    """Height over width, to three digits: sizes are whole pixels."""
    return round(image_size[0] / image_size[1], 3)
