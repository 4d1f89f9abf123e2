"""Conditional keys with every search, and populations that could do nothing: drawn as they should be, or refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from foundation.errors import ConfigError
from orchestrator.pipeline.load import load_pipeline
from orchestrator.pipeline.settings import TuneStage
from orchestrator.tune.goals import goals_of
from orchestrator.tune.searchers import EXHAUSTED, build_searcher, tell_end
from orchestrator.tune.settings import SweepSettings
from tests.unit.orchestrator.tune.lenet import LENET

OPTIMIZER: dict[str, Any] = {"loop.optimizer.name": {"choice": ["sgd", "adamw"]}}
ONLY_SGD: dict[str, Any] = {"when": {"loop.optimizer.name": "sgd"}}
CONDITIONAL = OPTIMIZER | {"loop.optimizer.momentum": {"uniform": [0.1, 0.9]} | ONLY_SGD}
LISTED = OPTIMIZER | {"loop.optimizer.momentum": {"choice": [0.5, 0.9]} | ONLY_SGD}
LR: dict[str, Any] = {"loop.optimizer.lr": {"loguniform": [1e-4, 0.1]}}


def answers(tmp_path: Path, **search: Any) -> list[str]:
    """What `validate` says; nothing if it has no objection."""
    stages = {"lenet": LENET, "search": {"kind": "tune", "base": "lenet", **search}}
    (tmp_path / "p.yaml").write_text(
        yaml.safe_dump({"name": "p", "data": {"digits": {"format": "digits"}}, "stages": stages}, sort_keys=False)
    )
    try:
        load_pipeline(tmp_path / "p.yaml")
    except ConfigError as error:
        return str(error).splitlines()
    return []


@pytest.mark.parametrize(
    "search", [{"name": "random"}, {"name": "bayes", "startup": 3}, {"name": "bayes", "sampler": "tpe"}]
)
def test_a_key_counts_only_where_its_condition_holds(tmp_path: Path, search: dict[str, Any]) -> None:
    assert not answers(tmp_path, search=search, space=CONDITIONAL)
    stage = TuneStage.model_validate({"kind": "tune", "base": LENET, "search": search, "space": CONDITIONAL})
    searcher = build_searcher(stage, goals_of(stage, stage.task), 0)
    seen = set()
    for number in range(1, 13):
        values = searcher.suggest(str(number))
        seen.add(values["loop.optimizer.name"])
        assert ("loop.optimizer.momentum" in values) == (values["loop.optimizer.name"] == "sgd")
        tell_end(searcher, number, [values.get("loop.optimizer.momentum", 0.5)])
    assert seen == {"sgd", "adamw"}


def test_a_grid_leaves_out_what_does_not_count(tmp_path: Path) -> None:
    assert not answers(tmp_path, search={"name": "grid"}, space=LISTED)
    stage = TuneStage.model_validate({"kind": "tune", "base": LENET, "search": {"name": "grid"}, "space": LISTED})
    searcher = build_searcher(stage, goals_of(stage, stage.task), 0)
    found = [tuple(searcher.suggest(str(number)).values()) for number in range(3)]
    assert found == [("sgd", 0.5), ("sgd", 0.9), ("adamw",)]
    assert searcher.suggest("4") == EXHAUSTED


@pytest.mark.parametrize(
    ("search", "space", "words"),
    [
        pytest.param(
            {"search": {"name": "bayes", "sampler": "gp"}},
            CONDITIONAL,
            "`sampler: gp` has no conditional keys: each must count in every trial; take `sampler: tpe`",
            id="gp",
        ),
        pytest.param(
            {"search": {"name": "pbt"}},
            {
                "augment.flip": {"choice": [True, False]},
                "augment.rotate": {"uniform": [1, 9], "when": {"augment.flip": True}},
            },
            "`search: pbt` has no conditional keys",
            id="pbt",
        ),
        pytest.param(
            {"search": {"name": "pb2"}},
            {
                "augment.flip": {"choice": [True, False]},
                "augment.rotate": {"uniform": [1, 9], "when": {"augment.flip": True}},
            },
            "`search: pb2` has no conditional keys",
            id="pb2",
        ),
        pytest.param(
            {"search": {"name": "pb2"}},
            {"augment.flip": {"choice": [True, False]}},
            "every key here is a `choice`; take `search: pbt`",
            id="pb2 without a number",
        ),
        pytest.param(
            {"search": {"name": "pb2", "every_epochs": 4}},
            LR,
            "no exchange before epoch 4",
            id="pb2 without an exchange",
        ),
        pytest.param(
            {"search": {"name": "pb2"}, "scheduler": {"name": "asha"}}, LR, "leave `scheduler: asha` out", id="two"
        ),
        pytest.param({"search": {"name": "pb2"}, "num_samples": 1}, LR, "needs a population", id="a population of one"),
        pytest.param(
            {"search": {"name": "pb2", "resample": 0.5}}, LR, "unknown key 'resample'", id="a key of pbt only"
        ),
        pytest.param(
            {"search": {"name": "pb2"}},
            {"model.width": {"uniform": [0.5, 1.0]}},
            "a trial of `search: pb2` keeps its weights",
            id="another network",
        ),
        pytest.param({}, {"loop.epochs": {"choice": [3]}}, "one value only", id="one choice"),
        pytest.param(
            {},
            {"loop.epochs": {"choice": [3]}, "loop.batch_size": {"integers": [8, 8]}},
            "one value only",
            id="one each",
        ),
        pytest.param(
            {"search": {"name": "bisect"}},
            {"loop.optimizer.lr": {"uniform": [0.1, 0.1]}},
            "one value only",
            id="a point",
        ),
        pytest.param({"search": {"name": "pb3"}}, LR, "pb2", id="a search that does not exist"),
    ],
)
def test_what_a_search_cannot_do_is_said(
    tmp_path: Path, search: dict[str, Any], space: dict[str, Any], words: str
) -> None:
    lines = answers(tmp_path, **search, space=space)
    assert any(words in line and "p.yaml" in line for line in lines), lines


def test_a_population_is_what_it_says() -> None:
    settings: Any = TypeAdapter(SweepSettings).validate_python({"search": {"name": "pb2"}, "space": LR})
    assert (settings.search.every_epochs, settings.search.quantile) == (1, 0.25)
