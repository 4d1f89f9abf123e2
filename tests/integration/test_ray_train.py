"""The same training on any number of workers, and the same evaluation."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.ledger import effective_samples
from tests.integration.head import Head
from tests.integration.project import EPOCHS, STEPS_PER_EPOCH, Project, Run

pytestmark = pytest.mark.integration

GROUP_NORM = {
    "model": {
        "name": "retinanet",
        "backbone": {"name": "resnet18", "width": 0.25, "norm": "group"},
        "fpn_channels": 16,
        "head_convs": 1,
    },
    "loop": {
        "epochs": 2,
        "batch_size": 4,
        "precision": "fp32",
        "log_every_steps": 1,
        "optimizer": {"name": "sgd", "lr": 0.01},
    },
}
TWELVE = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large")
TWELVE += ("mar_1", "mar_10", "mar_100", "mar_small", "mar_medium", "mar_large")


def test_any_number_of_workers_sees_the_same_samples_in_every_step(undisturbed: Callable[[int], Run]) -> None:
    none, one, two = (effective_samples(undisturbed(count).stage("detector")) for count in (0, 1, 2))
    assert len(none) == EPOCHS * STEPS_PER_EPOCH
    assert none == one == two


def test_a_worker_of_ray_ends_with_the_weights_of_this_process(undisturbed: Callable[[int], Run]) -> None:
    here, on_ray = undisturbed(0).weights(), undisturbed(1).weights()
    assert all(torch.equal(here[name], on_ray[name]) for name in here)
    assert undisturbed(0).metrics("detector") == undisturbed(1).metrics("detector")


def test_two_workers_learn_what_one_learns(project: Project, cluster: Head) -> None:
    """With layers that look at one image at a time, only the order of float additions differs.

    Batch normalisation, which the standard pipeline has, sees a worker's own images alone and learns something else.
    Biases begin at zero: their values are what was learned. Rounding differs by 0.2 % of it after 24 steps.
    """
    one = project.pipeline("group-norm-1", 0, **GROUP_NORM).to_the_end()
    two = project.pipeline("group-norm-2", 2, **GROUP_NORM).on(cluster).to_the_end()
    weights = two.weights()
    biases = {name: value for name, value in one.weights().items() if name.endswith("bias")}
    assert biases
    for name, expected in biases.items():
        assert torch.linalg.norm(weights[name] - expected) <= 0.01 * torch.linalg.norm(expected), name
    assert two.metrics("detector") == pytest.approx(one.metrics("detector"), abs=1e-3)


def test_evaluation_on_two_workers_equals_the_one_in_this_process(
    project: Project, cluster: Head, bundle: Path
) -> None:
    stage: dict[str, Any] = {"kind": "evaluate", "model": f"file:{bundle}", "data": "scenes", "split": "val"}
    stage["batch_size"] = 1  # the convolution of one image alone is the same on any worker
    stages = {f"on-{count}": {**stage, "resources": {"num_workers": count}} for count in (0, 2)}
    run = project.write("evaluations", stages).on(cluster).to_the_end()
    here, there = run.metrics("on-0"), run.metrics("on-2")
    assert set(TWELVE) <= here.keys()
    assert here["map"] > 0
    assert here == there
    predictions = [json.loads((run.stage(name) / "predictions.json").read_text()) for name in stages]
    assert predictions[0] == predictions[1]
