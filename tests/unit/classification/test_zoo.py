"""The zoo of classifiers is that of the backbones, in the form that all tasks share."""

import json

from classification.zoo import list_models
from detection.zoo import list_models as list_detectors
from vision.backbones.zoo import list_backbones


def test_every_backbone_is_a_classifier() -> None:
    models = list_models()
    assert [model["name"] for model in models] == [row["name"] for row in list_backbones()]
    assert set(models[0]) == set(list_detectors()[0])
    assert json.loads(json.dumps(models)) == models
