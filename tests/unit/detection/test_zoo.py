"""The zoo lists every model, with parameter counts as published."""

import json

import pytest

from detection.models import MODELS
from detection.zoo import list_models


@pytest.fixture(scope="module")
def zoo() -> dict[str, dict]:
    return {entry["name"]: entry for entry in list_models()}


def test_every_model_is_listed_with_its_papers(zoo):
    assert set(zoo) == set(MODELS)
    assert all(entry["papers"] for entry in zoo.values())
    assert json.loads(json.dumps(zoo)) == zoo


@pytest.mark.parametrize(
    ("name", "size", "millions"),
    [
        pytest.param("yolox", "nano", 0.91, id="as the YOLOX paper says"),
        pytest.param("yolox", "s", 8.97, id="yolox s"),
        pytest.param("ssd", "default", 34.3, id="35.64 M with 91 outputs, less 10 rows of every head"),
    ],
)
def test_parameters_are_counted(zoo, name, size, millions):
    assert zoo[name]["parameters"][size] / 1e6 == pytest.approx(millions, abs=0.05)
