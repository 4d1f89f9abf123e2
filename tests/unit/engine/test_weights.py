"""Weights are read from every place we name, fitted exactly, and refused with both shapes."""

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from engine.bundle import Manifest, save_bundle
from engine.weights import YOLOX_RELEASE, load_into, load_state
from foundation.errors import WeightsError


def toy(num_classes: int = 3, width: int = 4) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Conv2d(width, num_classes, 1))


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch.hub's cache, in an empty folder."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda state: state, id="bare"),
        pytest.param(
            lambda state: {"model": state, "epoch": 3}, id="under model, as YOLOX and torchvision's scripts do"
        ),
        pytest.param(lambda state: {"state_dict": state}, id="under state_dict"),
        pytest.param(lambda state: {f"module.{name}": value for name, value in state.items()}, id="from DDP"),
        pytest.param(
            lambda state: {"model": {f"module._orig_mod.{name}": value for name, value in state.items()}},
            id="from DDP over torch.compile, wrapped",
        ),
    ],
)
def test_a_pth_file_is_unwrapped_to_the_bare_names(tmp_path, wrap):
    state = toy().state_dict()
    torch.save(wrap(state), tmp_path / "weights.pth")
    assert_same(load_state(f"file:{tmp_path / 'weights.pth'}"), dict(state))
    assert_same(load_state(str(tmp_path / "weights.pth")), dict(state))


def test_safetensors_and_bundle_folders_are_read(tmp_path):
    state = dict(toy().state_dict())
    save_file(state, tmp_path / "weights.safetensors")
    manifest = Manifest("detection", {}, ("a",), {})
    save_bundle(tmp_path / "bundle", state, manifest)
    assert_same(load_state(f"file:{tmp_path / 'weights.safetensors'}"), state)
    assert_same(load_state(f"file:{tmp_path / 'bundle'}"), state)


def write_pickle(path: Path) -> None:
    torch.save(toy(), path)


def write_half(path: Path) -> None:
    torch.save(toy().state_dict(), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("write", "words"),
    [
        pytest.param(lambda path: None, "does not exist", id="missing"),
        pytest.param(write_pickle, "could run code", id="a pickled module"),
        pytest.param(write_half, "cut short", id="half a file"),
        pytest.param(lambda path: path.write_bytes(b""), "cut short", id="empty"),
        pytest.param(lambda path: path.write_text("hello"), "something else", id="text"),
        pytest.param(lambda path: torch.save([1, 2], path), "holds no state dict but list", id="a list"),
        pytest.param(lambda path: torch.save({}, path), "holds no state dict", id="an empty dict"),
        pytest.param(lambda path: torch.save({"epoch": 1}, path), "epoch are not tensors", id="no tensors"),
    ],
)
def test_what_is_no_state_dict_is_refused_with_its_path(tmp_path, write, words):
    path = tmp_path / "weights.pth"
    write(path)
    with pytest.raises(WeightsError, match=words) as caught:
        load_state(f"file:{path}")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("uri", ["stage:detector", "models:/cells@champion", "http://host/weights.pth"])
def test_uris_of_other_rooms_are_refused(uri):
    with pytest.raises(WeightsError, match="cannot be read here"):
        load_state(uri)


def test_an_official_yolox_file_is_taken_from_the_cache(hub):
    hub.mkdir(parents=True)
    state = toy().state_dict()
    torch.save({"model": state}, hub / "yolox_s.pth")
    assert_same(load_state("yolox:yolox_s.pth"), dict(state))


@pytest.mark.parametrize(
    ("uri", "url"),
    [
        ("yolox:yolox_s.pth", YOLOX_RELEASE + "yolox_s.pth"),
        ("https://weights.invalid/net.pth", "https://weights.invalid/net.pth"),
        ("torchvision:IMAGENET1K_V1", "https://download.pytorch.org/models/resnet18-f37072fd.pth"),
    ],
)
def test_without_internet_the_error_names_the_address_and_the_way_out(hub, monkeypatch, uri, url):
    def offline(*_args, **_kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(WeightsError, match="file:PATH") as caught:
        load_state(uri, architecture="resnet18")
    assert url in str(caught.value)


def test_downloads_of_torchvision_are_checked_against_the_hash_in_their_name(hub, monkeypatch):
    seen = []

    def download(url, path, hash_prefix, progress):
        seen.append(hash_prefix)
        torch.save(toy().state_dict(), path)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    load_state("torchvision:IMAGENET1K_V1", architecture="resnet18")
    load_state("torchvision:IMAGENET1K_V1", architecture="resnet18")
    assert seen == ["f37072fd"]


@pytest.mark.parametrize(
    ("architecture", "tag", "words"),
    [
        (None, "COCO_V1", "torchvision's own networks"),
        ("resnet17", "IMAGENET1K_V1", "no weights for 'resnet17'"),
        ("resnet18", "COCO_V1", "it has IMAGENET1K_V1"),
    ],
)
def test_unknown_torchvision_weights_are_named(architecture, tag, words):
    with pytest.raises(WeightsError, match=words):
        load_state(f"torchvision:{tag}", architecture=architecture)


def test_equal_models_are_loaded_whole():
    model, source = toy(), toy().state_dict()
    report = load_into(model, source, what="toy", allow_head_mismatch=False)
    assert_same(dict(model.state_dict()), dict(source))
    assert set(report.loaded) == set(source)
    assert not (report.missing or report.unexpected or report.mismatched)


def test_a_head_for_other_classes_is_made_anew_and_said(caplog):
    model, source = toy(num_classes=5), toy(num_classes=3).state_dict()
    before = model[2].weight.clone()
    with caplog.at_level(logging.INFO, logger="engine.weights"):
        report = load_into(model, source, what="toy", allow_head_mismatch=True)
    assert [entry[0] for entry in report.mismatched] == ["2.weight", "2.bias"]
    assert torch.equal(model[2].weight, before)
    assert torch.equal(model[0].weight, source["0.weight"])
    assert "2.weight is (3, 4, 1, 1) in the weights and (5, 4, 1, 1) in the model" in caplog.text


def test_a_head_for_other_classes_is_refused_where_all_must_fit():
    with pytest.raises(WeightsError, match=r"2\.weight is \(3, 4, 1, 1\) in the weights and \(5, 4, 1, 1\)"):
        load_into(toy(5), toy(3).state_dict(), what="toy", allow_head_mismatch=False)


def test_another_width_is_refused_even_where_the_head_may_differ():
    with pytest.raises(WeightsError, match=r"2\.weight is \(3, 8, 1, 1\) in the weights and \(3, 4, 1, 1\)"):
        load_into(toy(3, width=4), toy(3, width=8).state_dict(), what="toy", allow_head_mismatch=True)


@pytest.mark.parametrize("allow_head_mismatch", [True, False])
def test_a_missing_tensor_is_an_error_that_names_it(allow_head_mismatch):
    source = dict(toy().state_dict())
    del source["2.weight"]
    with pytest.raises(WeightsError, match=r"1 of its 9 tensors are not in them: 2\.weight"):
        load_into(toy(), source, what="toy", allow_head_mismatch=allow_head_mismatch)


def test_a_step_counter_may_be_missing():
    source = dict(toy().state_dict())
    del source["1.num_batches_tracked"]
    load_into(toy(), source, what="toy", allow_head_mismatch=False)


def test_surplus_tensors_are_left_out_or_refused():
    source = {**toy().state_dict(), "fc.weight": torch.zeros(2)}
    assert load_into(toy(), source, what="toy", allow_head_mismatch=True).unexpected == ("fc.weight",)
    with pytest.raises(WeightsError, match=r"tensors that it has not: fc\.weight"):
        load_into(toy(), source, what="toy", allow_head_mismatch=False)


def test_a_shared_prefix_is_taken_off():
    source = {f"backbone.body.{name}": value for name, value in toy().state_dict().items()}
    model = toy()
    load_into(model, {**source, "head.0.weight": torch.zeros(1)}, what="toy", allow_head_mismatch=False)
    assert torch.equal(model[0].weight, source["backbone.body.0.weight"])
