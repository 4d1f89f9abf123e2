"""Weights go from a classifier to a detector's trunk and to another classifier, and what starts anew is said."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from classification.models import build_model, weights
from classification.models.weights import published_channels
from classification.settings import ClassificationSettings
from detection.models import build_model as build_detector
from detection.settings import DetectionSettings
from engine.bundle import Manifest, load_bundle, save_bundle
from foundation.errors import WeightsError
from vision.normalize import IMAGENET_MEAN, IMAGENET_STD

HALF_RESNET = {"name": "resnet18", "width": 0.5, "stem": "standard"}
TINY = {"name": "resnet18", "width": 0.25}
CLASSES = ("a", "b", "c")


def build(model: dict[str, Any], classes: tuple[str, ...] = CLASSES, seed: int = 1, **keys: Any) -> Any:
    torch.manual_seed(seed)
    settings = ClassificationSettings.model_validate({"model": model, "image_size": [64, 64], **keys})
    return build_model(settings, len(classes), classes=classes)


def saved(folder: Path, model: dict[str, Any], **keys: Any) -> tuple[nn.Module, str]:
    """A trained classifier's bundle, and its address."""
    network = build(model, seed=0, **keys)
    settings = ClassificationSettings.model_validate({"model": model, "image_size": [64, 64], **keys})
    manifest = Manifest("classification", settings.model_dump(mode="json"), CLASSES, {})
    save_bundle(folder / "bundle", network.state_dict(), manifest)
    return network, f"file:{folder / 'bundle'}"


@pytest.mark.parametrize("keys", [{}, {"loss": {"name": "arcface"}}], ids=["own head", "margin head"])
@pytest.mark.parametrize("name", ["faster_rcnn", "ssd"])
def test_a_classifier_becomes_the_trunk_of_a_detector(tmp_path: Path, name: str, keys: dict[str, Any]) -> None:
    classifier, uri = saved(tmp_path, HALF_RESNET, **keys)
    backbone = {"name": "resnet18", "width": 0.5, "weights": uri}
    own = {"fpn_channels": 16, "levels": [3, 4]} if name == "faster_rcnn" else {}
    settings = {"model": {"name": name, "backbone": backbone, **own}, "image_size": [96, 96]}
    detector = build_detector(DetectionSettings.model_validate(settings), 2)
    found = detector.state_dict()
    for tensor in ("conv1.weight", "layer3.1.conv2.weight", "bn1.weight"):
        (key,) = [key for key in found if key.endswith(f".{tensor}") and "layer" not in key.removesuffix(tensor)]
        assert torch.equal(found[key], classifier.network.state_dict()[tensor])


@pytest.mark.parametrize(
    "parts", [{"norm": "group"}, {"norm": "switchable"}, {"norm": "weight"}, {"activation": "prelu"}], ids=str
)
@pytest.mark.parametrize("name", ["timm:test_resnet", "timm:test_efficientnet"])
def test_a_trunk_of_timm_takes_all_that_a_classifier_with_the_same_parts_learned(
    tmp_path: Path, name: str, parts: dict[str, str]
) -> None:
    _, uri = saved(tmp_path, {"name": name, "stem": "standard", **parts})
    _, learned = load_bundle(tmp_path / "bundle")
    model = {"name": "retinanet", "backbone": {"name": name, "weights": uri, **parts}, "levels": [3, 4]}
    detector = build_detector(DetectionSettings.model_validate({"model": model, "image_size": [96, 96]}), 2)
    trunk: Any = detector.get_submodule("backbone.body")
    plain = {key.replace(".", "_"): tensor for key, tensor in learned.items()}
    for key, tensor in trunk.network.state_dict().items():
        assert torch.equal(tensor, plain["network_" + key.replace(".", "_")]), key


@pytest.mark.parametrize(("stem", "is_said"), [("small", True), ("standard", False)])
def test_a_stem_for_small_images_is_named_where_it_does_not_fit(tmp_path: Path, stem: str, is_said: bool) -> None:
    _, uri = saved(tmp_path, {**TINY, "stem": stem})
    model = {"name": "retinanet", "backbone": {"name": "resnet18", "width": 0.5, "weights": uri}}
    with pytest.raises(WeightsError, match="the weights do not fit backbone resnet18") as caught:
        build_detector(DetectionSettings.model_validate({"model": model}), 2)
    assert ("train it with `model: {stem: standard}`" in str(caught.value)) is is_said


def test_the_same_classes_keep_their_head(tmp_path: Path) -> None:
    classifier, uri = saved(tmp_path, TINY)
    model = build(TINY | {"weights": uri})
    assert torch.equal(model.network.fc.weight, classifier.network.fc.weight)
    assert torch.equal(model.network.bn1.running_mean, classifier.network.bn1.running_mean)
    assert model.notes == ()


@pytest.mark.parametrize("classes", [("a", "b", "c", "d"), ("a", "b", "x")], ids=["another number", "another name"])
def test_for_other_classes_the_head_is_made_anew_and_that_is_said(tmp_path: Path, classes: tuple[str, ...]) -> None:
    classifier, uri = saved(tmp_path, TINY)
    model = build(TINY | {"weights": uri}, classes)
    assert torch.equal(model.network.conv1.weight, classifier.network.conv1.weight)
    assert model.network.fc.weight.shape[0] == len(classes)
    assert not torch.equal(model.network.fc.weight[:3], classifier.network.fc.weight)
    (note,) = model.notes
    assert "network.fc.weight" in note


def test_another_loss_keeps_the_trunk_only(tmp_path: Path) -> None:
    classifier, uri = saved(tmp_path, TINY)
    model = build(TINY | {"weights": uri, "embedding_size": 8}, loss={"name": "arcface"}, normalize="none")
    assert torch.equal(model.network.layer4[1].conv2.weight, classifier.network.layer4[1].conv2.weight)
    assert model.mean.flatten().tolist() == [0, 0, 0], "normalisation is this training's own"
    assert "head.weight" in model.notes[0]


def test_a_plain_file_of_the_network_fits(tmp_path: Path) -> None:
    classifier = build(TINY, seed=0)
    torch.save(classifier.network.state_dict(), tmp_path / "plain.pth")
    model = build(TINY | {"weights": f"file:{tmp_path / 'plain.pth'}", "norm": "frozen"}, ("a", "b"))
    assert torch.equal(model.network.layer1[0].conv1.weight, classifier.network.layer1[0].conv1.weight)
    assert torch.equal(model.network.bn1.running_var, classifier.network.bn1.running_var)
    assert "fc.weight" in model.notes[0]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        pytest.param({"name": "resnet18", "width": 0.5}, "do not fit model resnet18", id="another width"),
        pytest.param({"name": "resnet18", "width": 0.25, "stem": "standard"}, "conv1.weight", id="another stem"),
    ],
)
def test_weights_of_another_network_are_refused(tmp_path: Path, model: dict[str, Any], words: str) -> None:
    _, uri = saved(tmp_path, TINY)
    with pytest.raises(WeightsError, match=words):
        build(model | {"weights": uri})


def test_weights_that_miss_the_stem_for_small_images_are_told_of_the_other(tmp_path: Path) -> None:
    _, uri = saved(tmp_path, TINY | {"stem": "standard"})
    torch.save(build(TINY | {"stem": "standard"}).network.state_dict(), tmp_path / "plain.pth")
    for given in (uri, f"file:{tmp_path / 'plain.pth'}"):
        with pytest.raises(WeightsError, match=r"need `model\.stem: standard`"):
            build(TINY | {"weights": given})
        build(TINY | {"weights": given, "stem": "standard"})


@pytest.mark.parametrize(
    ("uri", "name", "expected"),
    [
        pytest.param("torchvision:IMAGENET1K_V1", "resnet18", None, id="ImageNet's own"),
        pytest.param("torchvision:IMAGENET1K_V1", "inception_v3", (0.5, 0.5), id="ported from TensorFlow"),
        pytest.param("torchvision:IMAGENET1K_FEATURES", "vgg16", (0.48235, 1 / 255), id="ported from Caffe"),
        pytest.param("timm:tf_in1k", "inception_v4", (0.5, 0.5), id="timm's"),
        pytest.param("timm:resnet18.a1_in1k", "timm:resnet18", (0.485, 0.229), id="timm's full name"),
        pytest.param("file:weights.pth", "googlenet", None, id="unknown"),
    ],
)
def test_published_weights_say_which_colours_they_know(uri: str, name: str, expected: Any) -> None:
    found = published_channels(uri, name)
    assert (None if found is None else (found[0][0], found[1][0])) == expected


def test_published_weights_see_the_colours_that_they_were_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision's own network with its `transform_input` is the oracle."""
    torch.manual_seed(0)
    oracle = torchvision.models.googlenet(num_classes=3, transform_input=True, init_weights=False).eval()
    monkeypatch.setattr(weights, "load_state", lambda *_, **__: oracle.state_dict())
    name = {"name": "googlenet", "stem": "standard", "weights": "torchvision:IMAGENET1K_V1"}
    images = torch.rand(2, 3, 64, 64)
    normalised = (images - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(IMAGENET_STD).view(3, 1, 1)
    model = build(name).eval()
    assert torch.allclose(model(images), oracle(normalised).softmax(1), atol=1e-5)
    assert "mean (0.5, 0.5, 0.5)" in model.notes[0]
    assert build(name, normalize="none").notes == ()


def test_weights_for_feature_extraction_are_refused(tmp_path: Path) -> None:
    state = build(TINY, seed=0).network.state_dict()
    state["layer4.1.conv2.weight"].fill_(torch.nan)
    torch.save(state, tmp_path / "features.pth")
    with pytest.raises(WeightsError, match=r"feature extraction only: layer4\.1\.conv2\.weight"):
        build(TINY | {"weights": f"file:{tmp_path / 'features.pth'}"})


def test_other_colours_than_the_weights_were_trained_with_are_said(tmp_path: Path) -> None:
    _, uri = saved(tmp_path, TINY, normalize={"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]})
    (note,) = build(TINY | {"weights": uri}).notes
    assert "normalize: {mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25]}" in note
