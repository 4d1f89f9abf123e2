"""A classifier from data to registry by the command line, and one that becomes a detector's backbone."""

from pathlib import Path

import mlflow
import pytest
import torch

from engine.bundle import load_bundle
from tests.integration.project import DATA, Project

pytestmark = pytest.mark.integration
LENET = {
    "kind": "train",
    "task": "classification",
    "data": "digits",
    "model": {"name": "lenet5"},
    "image_size": [32, 32],
    "normalize": "data",
    "augment": {"preset": "none"},
    "loop": {"epochs": 8, "batch_size": 32, "eval_every": 4, "optimizer": {"name": "adamw", "lr": 3.0e-3}},
    "resources": {"num_workers": 0},
}
BACKBONE = {
    **LENET,
    "data": "scenes",
    "model": {"name": "resnet18", "width": 0.25, "stem": "standard"},
    "loop": {"epochs": 1, "batch_size": 32},
}
DETECTOR = {
    "kind": "train",
    "task": "detection",
    "data": "scenes",
    "model": {
        "name": "faster_rcnn",
        "backbone": {"name": "resnet18", "width": 0.25, "weights": "stage:backbone"},
        "fpn_channels": 16,
        "levels": [3, 4],
        "anchor_sizes": [16.0, 32.0],
        "rois_per_image": 16,
        "proposals_train": 50,
        "proposals_test": 20,
        "head_channels": 32,
    },
    "image_size": [64, 64],
    "augment": {"preset": "none"},
    "loop": {"epochs": 1, "batch_size": 16, "optimizer": {"name": "adamw", "lr": 1.0e-12}},
    "resources": {"num_workers": 0},
}


def test_a_classifier_is_trained_measured_and_registered_and_one_becomes_a_backbone(tmp_path: Path) -> None:
    project = Project(tmp_path)
    stages = {
        "lenet": LENET,
        "test": {"kind": "evaluate", "model": "stage:lenet", "data": "digits", "split": "test"},
        "register": {
            "kind": "register",
            "model": "stage:lenet",
            "name": "lenet",
            "gate": [{"metric": "test.top1", "min": 0.9}],
        },
        "backbone": BACKBONE,
        "detector": DETECTOR,
    }
    run = project.write("digits", stages, data={"scenes": DATA, "digits": {"format": "digits"}}).to_the_end()
    assert run.metrics("test")["top1"] > 0.9
    pictures = {path.name for path in (run.stage("test") / "pictures").iterdir()}
    assert pictures == {"confusion_matrix.png", "reliability.png", "classes.png", "errors.png"}

    mlflow.set_tracking_uri(project.store)
    image = next((run.stage("lenet") / "bundle").parents[3].rglob("*.png"))
    model = mlflow.pyfunc.load_model("models:/lenet@champion")
    (answer,) = model.predict([str(image)], params=None)
    assert len(answer["classes"]) == len(answer["scores"]) == 5
    (answer,) = model.predict([str(image)], params={"top_k": 2})
    assert len(answer["classes"]) == 2

    _, classifier = load_bundle(run.stage("backbone") / "bundle")
    _, detector = load_bundle(run.stage("detector") / "bundle")
    name = next(name for name in detector if name.endswith(".conv1.weight") and "layer" not in name)
    assert torch.allclose(detector[name], classifier["network.conv1.weight"], atol=1e-6)
