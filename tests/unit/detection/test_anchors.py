"""Anchors fitted to the data: the numbers, and that models keep them with their weights."""

import copy

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torchvision.models.detection.image_list import ImageList

from detection.anchors import fit_anchors, mean_best_overlap
from detection.models import build_model
from detection.models.fitted_anchors import FittedAnchors, FittedDefaultBoxes, fit_model_anchors
from detection.settings import DetectionSettings

DEFAULTS = [np.array([[16.0, 16.0], [8, 32]]), np.array([[32.0, 32], [16, 64], [64, 16]])]
NARROW = {"name": "resnet18", "width": 0.125}
MODELS = {
    "faster_rcnn": {"name": "faster_rcnn", "backbone": NARROW, "fpn_channels": 16, "levels": [3, 4, 5], "roi_pool": 2},
    "retinanet": {"name": "retinanet", "backbone": NARROW, "fpn_channels": 16, "levels": [3, 4, 5], "head_convs": 1},
    "ssd": {"name": "ssd", "backbone": NARROW},
}
NUM_CLASSES = 2
SIZE = (64, 96)


def test_clusters_by_hand():
    # Two clear groups near the first level's 16 px; their middles are means of logarithms.
    sizes = [[10, 20], [10, 20], [20, 10], [20, 10], [5, 40], [0, 7]]
    fitted = fit_anchors(np.array(sizes[:4]), DEFAULTS)
    np.testing.assert_allclose(sorted(fitted[0].tolist()), [[10, 20], [20, 10]], rtol=1e-5)
    np.testing.assert_array_equal(fitted[1], DEFAULTS[1])
    middle = fit_anchors(np.array([[8, 8], [18, 18], [18, 18], [4, 4]]), DEFAULTS)[0]
    np.testing.assert_allclose(middle, [[32**0.5] * 2, [18, 18]], rtol=1e-5)


def test_each_level_is_fitted_to_the_boxes_nearest_in_size():
    rng = np.random.default_rng(0)
    small, large = rng.uniform(12, 18, (30, 2)), rng.uniform(28, 60, (30, 2))
    fitted = fit_anchors(np.concatenate([small, large]), DEFAULTS)
    assert [level.shape for level in fitted] == [(2, 2), (3, 2)]
    assert fitted[0].max() < 18
    assert fitted[1].min() > 28
    areas = fitted[1].prod(axis=1)
    assert (np.diff(areas) >= 0).all()


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param(np.zeros((0, 2)), id="no boxes"),
        pytest.param(np.array([[0.0, 5.0]]), id="no area"),
        pytest.param(np.full((9, 2), 15.0), id="fewer different sizes than anchors"),
    ],
)
def test_levels_without_enough_boxes_keep_their_defaults(sizes):
    for fitted, default in zip(fit_anchors(sizes, DEFAULTS), DEFAULTS, strict=True):
        np.testing.assert_array_equal(fitted, default)


def test_mean_best_overlap_by_hand():
    assert mean_best_overlap(np.array([[10.0, 10], [10, 20]]), np.array([[10.0, 10], [100, 100]])) == 0.75
    assert mean_best_overlap(np.zeros((0, 2)), np.ones((1, 2))) == 0


def build(name, anchors="auto"):
    torch.manual_seed(0)
    settings = DetectionSettings.model_validate({"model": {**MODELS[name], "anchors": anchors}, "image_size": SIZE})
    return build_model(settings, NUM_CLASSES)


def anchors_of(model):
    (module,) = [m for m in model.modules() if isinstance(m, FittedAnchors | FittedDefaultBoxes)]
    return module


def boxes_like(rng, count=60):
    return np.exp(rng.uniform(np.log(6), np.log(60), (count, 2))).astype(np.float32)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_unfitted_anchors_are_the_usual_ones(name):
    plain, auto = build(name, None), build(name)
    images = torch.rand(1, 3, *SIZE)
    for model in (plain, auto):
        model.eval()
    with torch.no_grad():
        one, other = plain(images)[0], auto(images)[0]
    assert set(auto.state_dict()) - set(plain.state_dict()) == {
        f"{'rpn.' * (name == 'faster_rcnn')}anchor_generator.fitted_{i}" for i in range(6 if name == "ssd" else 3)
    }
    tolerance = 1.0 if name != "ssd" else 1e-4  # torchvision rounds half anchors, which moves a box by half a pixel
    assert len(one["boxes"]) == len(other["boxes"])
    torch.testing.assert_close(one["boxes"], other["boxes"], atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_fitted_anchors_fit_better_and_travel_with_the_weights(name):
    sizes = boxes_like(np.random.default_rng(1))
    model = build(name)
    (note,) = fit_model_anchors(model, sizes, SIZE)
    assert "levels fitted to 60 boxes" in note
    after, before = (float(word) for word in note.split() if word.startswith("0."))
    assert after > before
    other = build(name)
    other.load_state_dict(model.state_dict())
    maps = [torch.zeros(1, 1, 8, 12), torch.zeros(1, 1, 4, 6), torch.zeros(1, 1, 2, 3)]
    maps += [torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)] if name == "ssd" else []
    images = ImageList(torch.zeros(1, 3, *SIZE), [SIZE])
    given = [anchors_of(each)(images, maps)[0] for each in (model, other, copy.deepcopy(model))]
    torch.testing.assert_close(given[1], given[0])
    torch.testing.assert_close(given[2], given[0])
    wanted = np.concatenate(anchors_of(model).sizes_px(SIZE))[0]
    found = given[0][0, 2:] - given[0][0, :2]
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_model_with_fitted_anchors_trains(name):
    model = build(name)
    fit_model_anchors(model, boxes_like(np.random.default_rng(2)), SIZE)
    targets = [{"boxes": torch.tensor([[8.0, 8, 30, 40]]), "labels": torch.tensor([1])}] * 2
    losses = model(torch.rand(2, 3, *SIZE), targets)
    assert all(torch.isfinite(value) for value in losses.values())


def test_other_models_are_left_alone():
    assert fit_model_anchors(build("ssd", None), boxes_like(np.random.default_rng(0)), SIZE) == []


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({"anchor_sizes": [8, 16, 32]}, "anchor_sizes has no effect"),
        ({"official": "fasterrcnn_resnet50_fpn_v2"}, "whose anchors are its own"),
    ],
)
def test_anchors_are_given_once(others, words):
    with pytest.raises(ValidationError, match=words):
        DetectionSettings.model_validate({"model": {"name": "faster_rcnn", "anchors": "auto", **others}})
