"""Order and cycles of stages."""

import pytest

from orchestrator.pipeline.graph import dependencies, order, references


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        pytest.param({}, (), id="nothing"),
        pytest.param({"a": ()}, ("a",), id="one"),
        pytest.param({"b": (), "a": ()}, ("b", "a"), id="free stages keep the file's order"),
        pytest.param({"c": ("b",), "b": ("a",), "a": ()}, ("a", "b", "c"), id="written backwards"),
        pytest.param({"d": ("b", "c"), "b": ("a",), "c": ("a",), "a": ()}, ("a", "b", "c", "d"), id="diamond"),
    ],
)
def test_order(needs: dict[str, tuple[str, ...]], expected: tuple[str, ...]) -> None:
    assert order(needs) == (expected, [])


@pytest.mark.parametrize(
    ("needs", "done", "cycles"),
    [
        pytest.param({"a": ("a",)}, (), [("a", "a")], id="itself"),
        pytest.param({"a": ("b",), "b": ("a",), "c": ()}, ("c",), [("a", "b", "a")], id="two, and one beside"),
        pytest.param({"x": ("a",), "a": ("b",), "b": ("a",)}, (), [("a", "b", "a")], id="one behind a cycle"),
        pytest.param(
            {"a": ("b",), "b": ("a",), "c": ("d",), "d": ("c",)},
            (),
            [("a", "b", "a"), ("c", "d", "c")],
            id="two cycles",
        ),
    ],
)
def test_cycles(needs: dict[str, tuple[str, ...]], done: tuple[str, ...], cycles: list[tuple[str, ...]]) -> None:
    assert order(needs) == (done, cycles)


def test_references_are_found_at_any_depth() -> None:
    stages = {
        "a": {"model": {"backbone": {"weights": "stage:b"}}, "list": ["stage:c"]},
        "b": {},
        "c": {"gate": [{"metric": "b.map"}, {"metric": 3}, 5]},
        "d": None,
    }
    found = [(reference.stage, reference.target, reference.path[2:]) for reference in references(stages)]
    assert found == [
        ("a", "b", ("model", "backbone", "weights")),
        ("a", "c", ("list", 0)),
        ("c", "b", ("gate", 0, "metric")),
    ]
    assert dependencies(stages) == {"a": ("b", "c"), "b": (), "c": ("b",), "d": ()}
