"""Every fault in a search gets one clear paragraph: file, line, key path, and what would have been right."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from foundation.errors import ConfigError
from orchestrator.pipeline.load import load_pipeline
from tests.unit.orchestrator.tune.lenet import LENET

LR = "loop.optimizer.lr"
SPACE = f"space.{LR}"
SEARCH: dict[str, Any] = {"kind": "tune", "base": LENET, "space": {LR: {"loguniform": [1e-4, 0.1]}}}


def lr(domain: Any) -> dict[str, Any]:
    return {"space": {LR: domain}}


def manual(*trials: Any, **settings: Any) -> dict[str, Any]:
    return {"search": {"name": "manual", "trials": list(trials), **settings}, "space": {}}


def problems(tmp_path: Path, changes: dict[str, Any]) -> list[str]:
    content = {"name": "p", "data": {"digits": {"format": "digits"}}, "stages": {"search": SEARCH | changes}}
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(ConfigError) as caught:
        load_pipeline(tmp_path / "p.yaml")
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("changes", "place", "words"),
    [
        pytest.param(lr([1e-4, 0.1]), SPACE, "expected a mapping such as {loguniform:", id="a list for a domain"),
        pytest.param(lr(0.1), SPACE, "expected a mapping such as", id="a number for a domain"),
        pytest.param(lr(None), SPACE, "expected a mapping such as", id="nothing for a domain"),
        pytest.param(lr({}), SPACE, "does not say which values", id="an empty domain"),
        pytest.param(lr({"log_uniform": [1, 2]}), SPACE, "did you mean 'loguniform'?", id="a misspelt kind"),
        pytest.param(
            lr({"uniform": [0.1, 1], "choice": [1, 2]}),
            SPACE,
            "'uniform' and 'choice' stand side by side",
            id="two kinds",
        ),
        pytest.param(lr({"uniform": [0.1]}), SPACE, "item 2 is missing", id="half a range"),
        pytest.param(lr({"uniform": [1, 2, 3]}), SPACE, "at most 2 items", id="three bounds"),
        pytest.param(
            lr({"uniform": ["low", 1]}), SPACE, "expected a number, got the text 'low'", id="text for a bound"
        ),
        pytest.param(lr({"uniform": [0, float("nan")]}), SPACE, "is not finite", id="not a number"),
        pytest.param(lr({"choice": 0.1}), SPACE, "expected a list", id="one choice without a list"),
        pytest.param(lr({"choice": []}), SPACE, "at least 1 items", id="no choice"),
        pytest.param(lr({"choice": [0.1, 0.1]}), SPACE, "0.1 stands among the choices twice", id="a choice twice"),
        pytest.param(lr({"choice": [0.1, "big"]}), SPACE, "with 'big' here, expected a number", id="a wrong choice"),
        pytest.param(
            {"space": {"loop.batch_size": {"uniform": [8, 64]}}},
            "space.loop.batch_size",
            "whole number or 'full', got 8.0; take `integers`",
            id="fractions for whole numbers",
        ),
        pytest.param(
            {"space": {"lr": {"uniform": [0.1, 1]}}},
            "space.lr",
            "did you mean 'loop.optimizer.lr'?",
            id="the last part",
        ),
        pytest.param(
            {"space": {"model.backbone.name": {"choice": ["lenet5", "alexnet"]}}},
            "space.model.backbone.name",
            "did you mean 'model.name'?",
            id="another task's key",
        ),
        pytest.param(
            {
                "space": {
                    "loop.optimizer.name": {"choice": ["sgd", "adamw"]},
                    "loop.optimizer.momentum": {"uniform": [0.1, 0.9]},
                }
            },
            "space.loop.optimizer.name",
            "unknown key 'momentum'",
            id="a key that fits one choice only",
        ),
        pytest.param({"space": [LR]}, "space", "expected a mapping of keys", id="a list for a space"),
        pytest.param({"search": "bayes"}, "search.search", "such as {name: bayes}", id="a name for a mapping"),
        pytest.param(
            {"search": {"name": "bayess"}}, "search.search.name", "did you mean 'bayes'?", id="a misspelt search"
        ),
        pytest.param(
            {"search": {"name": "bayes", "startup": 9}, "num_samples": 9},
            "search.search.startup",
            "the first 9 trials are drawn at random",
            id="nothing is ever learned",
        ),
        pytest.param(
            {"search": {"name": "bayes"}, "num_samples": 4}, "search.search", "the first 8 trials", id="nor by default"
        ),
        pytest.param({"scheduler": "asha"}, "search.scheduler", "such as {name: asha}", id="a scheduler by name"),
        pytest.param(
            {"scheduler": {"name": "ashaa"}}, "scheduler.name", "did you mean 'asha'?", id="a misspelt scheduler"
        ),
        pytest.param(
            {"time_budget_s": "1h"}, "time_budget_s", "expected a number, got the text '1h'", id="a budget in words"
        ),
        pytest.param({"num_samples": 0}, "num_samples", "a number > 0", id="no trials"),
        pytest.param(
            {"metric": "map_50"}, "metric", "classification has no metric 'map_50'", id="another task's metric"
        ),
        pytest.param({"metric": ["latency_ms", "top1"]}, "search", "begins with the cost", id="a cost first"),
        pytest.param({"samples": 9}, "search.samples", "did you mean 'num_samples'?", id="an unknown key"),
        pytest.param({"loop": {"epochs": 3}}, "search.loop", "did you mean 'base.loop'?", id="a key of the base"),
        pytest.param(manual(), "search.search", "nothing would be tried", id="manual without trials"),
        pytest.param(manual({LR: 0.1}, {LR: 0.1}), "trials.1", "this is trial 1 again", id="a trial twice"),
        pytest.param(manual({LR: -0.1}), "trials.0", f"{LR}: expected a number > 0", id="a wrong value by hand"),
        pytest.param(manual("lr=0.1"), "trials.0", "expected a mapping of keys", id="text for a trial"),
        pytest.param(
            manual({"resources.num_workers": 2}), "trials.0", "no trial is better by it", id="resources for a trial"
        ),
    ],
)
def test_a_fault_is_named_with_its_place(tmp_path: Path, changes: dict[str, Any], place: str, words: str) -> None:
    lines = problems(tmp_path, changes)
    assert any(place in line and words in line for line in lines), lines
    assert all("p.yaml:" in line for line in lines), "every line names the file and a line in it"


def test_one_fault_is_one_line(tmp_path: Path) -> None:
    assert len(problems(tmp_path, lr({"log_uniform": [1, 2]}))) == 1


def test_a_manual_search_that_waits_needs_no_trials(tmp_path: Path) -> None:
    content = {
        "name": "p",
        "data": {"digits": {"format": "digits"}},
        "stages": {"search": SEARCH | manual(wait=True)},
    }
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(content))
    assert load_pipeline(tmp_path / "p.yaml").order == ("search",)
