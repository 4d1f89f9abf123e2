"""A bundle says what it is, holds what was given, and notices damage."""

import json
from pathlib import Path

import pytest
import torch

from engine.bundle import MANIFEST_FILE, WEIGHTS_FILE, Manifest, load_bundle, save_bundle
from foundation.errors import WeightsError

MANIFEST = Manifest(
    task="detection",
    settings={"model": {"name": "yolo", "weights": "file:/gone.pth", "backbone": {"weights": "stage:x", "name": "r"}}},
    classes=("a", "b"),
    preprocessing={"scale": 1 / 255},
    metrics={"map": 0.5},
)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    shared = torch.arange(6.0)
    save_bundle(tmp_path / "bundle", {"w": shared.view(2, 3).t(), "again": shared}, MANIFEST)
    return tmp_path / "bundle"


def test_what_goes_in_comes_out(bundle: Path) -> None:
    manifest, state = load_bundle(bundle)
    assert manifest.classes == ("a", "b")
    assert manifest.metrics == {"map": 0.5}
    assert torch.equal(state["w"], torch.arange(6.0).view(2, 3).t())
    assert torch.equal(state["again"], torch.arange(6.0))


def test_it_does_not_ask_for_the_weights_that_training_began_with(bundle: Path) -> None:
    model = load_bundle(bundle)[0].settings["model"]
    assert model == {"name": "yolo", "weights": None, "backbone": {"weights": None, "name": "r"}}


def test_it_holds_two_plain_files_and_no_pickle(bundle: Path) -> None:
    assert sorted(path.name for path in bundle.iterdir()) == [MANIFEST_FILE, WEIGHTS_FILE]


def test_a_changed_byte_is_noticed(bundle: Path) -> None:
    content = bytearray((bundle / WEIGHTS_FILE).read_bytes())
    content[-1] ^= 1
    (bundle / WEIGHTS_FILE).write_bytes(content)
    with pytest.raises(WeightsError, match="damaged or was replaced"):
        load_bundle(bundle)


def test_a_folder_that_is_no_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"has no bundle\.json"):
        load_bundle(tmp_path)


def test_a_newer_format_asks_for_an_upgrade(bundle: Path) -> None:
    content = json.loads((bundle / MANIFEST_FILE).read_text())
    (bundle / MANIFEST_FILE).write_text(json.dumps({**content, "format_version": 99}))
    with pytest.raises(WeightsError, match="upgrade"):
        load_bundle(bundle)
