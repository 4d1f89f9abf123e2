"""The space: drawing, combinations, conditions, and keys as positions between 0 and 1."""

import math
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from orchestrator.tune.settings import Domain, domain_faults
from orchestrator.tune.space import combinations, corners, draw, from_unit, in_order, to_unit
from orchestrator.tune.values import MISSING, merged, overlap, value_at, with_values

DOMAIN: TypeAdapter[Any] = TypeAdapter(Domain)


def space_of(**domains: dict[str, Any]) -> dict[str, Any]:
    return {key.replace("__", "."): DOMAIN.validate_python(value) for key, value in domains.items()}


OPTIMIZER = space_of(
    momentum={"choice": [0.5, 0.9], "when": {"name": "sgd"}},
    name={"choice": ["sgd", "adamw"]},
)


@pytest.mark.parametrize(
    ("domain", "position", "expected"),
    [
        pytest.param({"uniform": [2, 6]}, 0.25, 3.0, id="linear"),
        pytest.param({"loguniform": [1e-4, 1e-2]}, 0.5, 1e-3, id="middle of the exponents"),
        pytest.param({"integers": [1, 4]}, 0.0, 1, id="lowest whole number"),
        pytest.param({"integers": [1, 4]}, 1.0, 4, id="highest whole number"),
        pytest.param({"logintegers": [8, 128]}, 1.0, 128, id="highest of logarithmic ones"),
        pytest.param({"choice": ["a", "b"]}, 1.0, "b", id="last choice"),
        pytest.param({"uniform": [3, 3]}, 0.7, 3.0, id="no width"),
    ],
)
def test_a_position_becomes_a_value(domain: dict[str, Any], position: float, expected: Any) -> None:
    value = from_unit(DOMAIN.validate_python(domain), position)
    assert value == pytest.approx(expected) if isinstance(expected, float) else value == expected


@pytest.mark.parametrize("domain", [{"uniform": [-2, 5]}, {"loguniform": [1e-6, 10]}])
def test_to_unit_is_the_inverse_of_from_unit(domain: dict[str, Any]) -> None:
    typed = DOMAIN.validate_python(domain)
    for position in (0.0, 0.1, 0.5, 1.0):
        assert to_unit(typed, from_unit(typed, position)) == pytest.approx(position)


def test_whole_numbers_are_equally_likely() -> None:
    space = space_of(k={"integers": [1, 4]})
    rng = np.random.default_rng(0)
    counts = np.bincount([draw(space, rng)["k"] for _ in range(4000)], minlength=5)[1:]
    assert abs(counts - 1000).max() < 120


def test_orders_of_magnitude_are_equally_likely() -> None:
    space, rng = space_of(lr={"loguniform": [1e-4, 1.0]}), np.random.default_rng(0)
    exponents = [math.floor(math.log10(draw(space, rng)["lr"])) for _ in range(4000)]
    assert abs(np.bincount([4 + e for e in exponents], minlength=4)[:4] - 1000).max() < 120


def test_a_condition_leaves_its_key_out() -> None:
    rng = np.random.default_rng(1)
    drawn = [draw(OPTIMIZER, rng) for _ in range(50)]
    assert all(("momentum" in values) == (values["name"] == "sgd") for values in drawn)
    assert in_order(OPTIMIZER) == ["name", "momentum"]


def test_combinations_hold_each_case_once() -> None:
    assert list(combinations(OPTIMIZER)) == [
        {"momentum": 0.5, "name": "sgd"},
        {"momentum": 0.9, "name": "sgd"},
        {"name": "adamw"},
    ]


def test_corners_try_every_extreme_where_it_counts() -> None:
    tried = [values for key, values in corners(OPTIMIZER) if key == "momentum"]
    assert tried == [{"name": "sgd", "momentum": 0.5}, {"name": "sgd", "momentum": 0.9}]


def test_keys_that_wait_for_each_other_are_named() -> None:
    space = space_of(a={"choice": [1], "when": {"b": 1}}, b={"choice": [1], "when": {"a": 1}})
    with pytest.raises(ValueError, match="a, b wait for each other"):
        in_order(space)


@pytest.mark.parametrize(
    ("domain", "words"),
    [
        pytest.param({"uniform": [2, 1]}, "inverted", id="inverted"),
        pytest.param({"loguniform": [0, 1]}, "a logarithm has no zero", id="log of zero"),
        pytest.param({"uniform": [0, math.inf]}, "not finite", id="infinite"),
        pytest.param({"choice": [1]}, None, id="a choice is always fine"),
    ],
)
def test_faults_of_ranges(domain: dict[str, Any], words: str | None) -> None:
    fault = domain_faults(DOMAIN.validate_python(domain))
    assert fault is None if words is None else words in str(fault)


def test_values_are_put_under_dotted_keys() -> None:
    base = {"loop": {"optimizer": {"name": "sgd"}}, "levels": [1, 2]}
    changed = with_values(base, {"loop.optimizer.lr": 0.1, "levels.1": 5, "augment.mixing": 0})
    assert changed == {
        "loop": {"optimizer": {"name": "sgd", "lr": 0.1}},
        "levels": [1, 5],
        "augment": {"mixing": 0},
    }
    assert base == {"loop": {"optimizer": {"name": "sgd"}}, "levels": [1, 2]}
    with pytest.raises(KeyError):
        with_values({"loop": 3}, {"loop.epochs": 1})
    assert value_at(changed, "levels.1") == 5
    assert value_at(changed, "loop.nothing") is MISSING


def test_a_mapping_of_another_name_replaces_the_one_below() -> None:
    below = {"optimizer": {"name": "sgd", "momentum": 0.9}, "epochs": 3}
    assert merged(below, {"optimizer": {"name": "adamw"}}) == {"optimizer": {"name": "adamw"}, "epochs": 3}
    assert merged(below, {"optimizer": {"momentum": 0.5}})["optimizer"] == {"name": "sgd", "momentum": 0.5}


def test_keys_overlap_when_one_lies_in_the_other() -> None:
    assert overlap("loop.optimizer", "loop.optimizer.lr")
    assert not overlap("loop.optimizer.lr", "loop.optimizer.lr_decay")
