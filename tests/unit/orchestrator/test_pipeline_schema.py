"""The JSON schema, and the keys known at a place."""

from pathlib import Path

import jsonschema
import pytest

from orchestrator.pipeline.addresses import MODEL_SCHEMES, WEIGHTS_SCHEMES, address_fault, file_path
from orchestrator.pipeline.schema import json_schema, known_keys
from orchestrator.pipeline.source import parse

HOUSE = Path(__file__).resolve().parents[3]
GOOD = (HOUSE / "tests" / "data" / "good_pipeline.yaml").read_text()


def test_known_keys_follow_kind_task_and_name() -> None:
    data = parse(GOOD, "f.yaml").data
    assert "stages" in known_keys((), data)
    assert {"loop", "augment", "image_size"} <= set(known_keys(("stages", "detector"), data))
    assert "patience" in known_keys(("stages", "detector", "loop", "early_stop"), data)
    assert known_keys(("stages", "detector", "model"), data) == ["name", "size", "levels", "weights"]
    assert "num_images" in known_keys(("data", "cells"), data)
    assert "max_drop" in known_keys(("stages", "register", "gate", 0), data)
    assert known_keys(("stages", "register", "tags"), data) == [], "every tag is allowed"
    assert known_keys(("nowhere", "at", "all"), data) == []


def test_the_schema_accepts_a_good_file_and_refuses_a_typo() -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    assert not list(validator.iter_errors(parse(GOOD, "f.yaml").data))
    assert list(validator.iter_errors(parse(GOOD.replace("epochs", "epoch"), "f.yaml").data))


@pytest.mark.parametrize("file", sorted((HOUSE / "pipelines").glob("*.yaml")), ids=lambda file: file.name)
def test_the_schema_accepts_our_pipelines(file: Path) -> None:
    data = parse(file.read_text(), file.name).data
    validator = jsonschema.Draft202012Validator(json_schema())
    assert not list(validator.iter_errors(data))
    stage = next(iter(data["stages"].values()))
    stage.get("base", stage)["loop"]["epoch"] = 3
    assert list(validator.iter_errors(data))


def test_the_schema_explains_every_key() -> None:
    schema = json_schema()
    definitions = {"Pipeline": schema, **schema["$defs"]}
    silent = [
        f"{name}.{key}"
        for name, definition in definitions.items()
        for key, content in definition.get("properties", {}).items()
        if not {"description", "const", "$ref"} & set(content)
    ]
    assert not silent


def test_the_schema_explains_keys() -> None:
    definitions = json_schema()["$defs"]
    assert "GLOBAL batch" in definitions["LoopSettings"]["properties"]["batch_size"]["description"]
    assert "data set" in definitions["DetectionTrain"]["properties"]["data"]["description"]


@pytest.mark.parametrize(
    "address",
    [
        "stage:backbone",
        "models:/cells-detector@champion",
        "models:/cells/3",
        "file:best.pth",
        "torchvision:IMAGENET1K_V2",
        "timm:resnet50.a1_in1k",
        "yolox:yolox_s.pth",
        "https://example.org/w.pth",
    ],
)
def test_well_formed_addresses(address: str) -> None:
    assert address_fault(address, WEIGHTS_SCHEMES) is None


@pytest.mark.parametrize(
    ("address", "words"),
    [
        pytest.param("stag:backbone", "did you mean 'stage'", id="misspelt scheme"),
        pytest.param("stage:", "of the form stage:NAME", id="no name"),
        pytest.param("models:cells@champion", "of the form models:/", id="no slash"),
        pytest.param("models:/cells/three", "of the form models:/", id="version is no number"),
        pytest.param("yolox:yolox_s", "of the form yolox:", id="no file"),
        pytest.param("best.pth", "no address", id="plain path"),
    ],
)
def test_malformed_addresses(address: str, words: str) -> None:
    assert words in (address_fault(address, WEIGHTS_SCHEMES) or "")


def test_official_weights_are_no_model() -> None:
    assert address_fault("timm:resnet50.a1_in1k", MODEL_SCHEMES) is not None


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        pytest.param("file:a/b.pth", "/base/a/b.pth", id="relative"),
        pytest.param("file:/a/b.pth", "/a/b.pth", id="absolute"),
        pytest.param("file:///a/b.pth", "/a/b.pth", id="as an address with an empty host"),
        pytest.param("file:../b.pth", "/b.pth", id="upwards"),
    ],
)
def test_file_addresses_become_absolute_paths(address: str, expected: str) -> None:
    assert file_path(address, Path("/base")) == Path(expected)
