"""Tune stages in a pipeline file: bases by name, winners for the next stage, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from foundation.errors import ConfigError
from orchestrator.execution.plan import splits_of
from orchestrator.pipeline.fingerprint import fingerprint_of, fingerprint_parts
from orchestrator.pipeline.load import LoadedPipeline, load_pipeline
from orchestrator.pipeline.settings import TrainStage, TuneStage
from orchestrator.tune.result import with_winner
from tests.unit.orchestrator.tune.lenet import LENET

SEARCH: dict[str, Any] = {"kind": "tune", "base": "lenet", "space": {"loop.optimizer.lr": {"loguniform": [1e-4, 0.1]}}}


def load(tmp_path: Path, *overrides: str, base: dict[str, Any] | None = None, **stages: Any) -> LoadedPipeline:
    content = {"name": "p", "data": {"digits": {"format": "digits"}}, "stages": {"lenet": base or LENET, **stages}}
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return load_pipeline(tmp_path / "p.yaml", overrides)


def search_of(loaded: LoadedPipeline) -> TuneStage:
    stage = loaded.pipeline.stages["search"]
    assert isinstance(stage, TuneStage)
    return stage


def test_a_base_by_name_takes_the_stages_settings_and_its_overrides(tmp_path: Path) -> None:
    loaded = load(tmp_path, "stages.lenet.loop.epochs=7", search=SEARCH)
    stage = search_of(loaded)
    assert stage.base.loop.epochs == 7
    assert loaded.needs["search"] == ()  # its settings, not its result
    assert splits_of(stage) == ("train", "val")
    assert "batch_size" not in stage.base.model_dump(exclude_unset=True)["loop"]


def test_a_training_builds_on_the_search_and_takes_the_winners_values(tmp_path: Path) -> None:
    final = {"kind": "train", "base": "stage:search", "task": "classification", "data": "digits", "loop": {"epochs": 9}}
    loaded = load(tmp_path, search=SEARCH, final=final)
    stage = loaded.pipeline.stages["final"]
    assert isinstance(stage, TrainStage)
    assert loaded.needs["final"] == ("search",)
    won = with_winner(stage, {"loop.optimizer.lr": 0.05, "loop.optimizer.name": "adamw"})
    assert (won.loop.epochs, won.loop.optimizer.lr, won.loop.optimizer.name) == (9, 0.05, "adamw")
    assert won.task_settings().image_size == (32, 32)  # type: ignore[attr-defined]


def test_what_cannot_change_a_result_leaves_the_fingerprint_alone(tmp_path: Path) -> None:
    def fingerprint(*overrides: str, **changes: Any) -> str:
        stage = search_of(load(tmp_path, *overrides, search=SEARCH | changes))
        return fingerprint_of(fingerprint_parts(stage, seed=0, upstream={}, code=""))

    before = fingerprint()
    assert fingerprint("stages.lenet.resources.num_workers=2", "stages.search.max_concurrent=2") == before
    assert fingerprint(num_samples=5) != before


CHANGED_SPACE = "loop.optimizer.lr"


@pytest.mark.parametrize(
    ("changes", "place", "words"),
    [
        pytest.param(
            {"space": {"loop.optimizer.lrr": {"uniform": [0.1, 1]}}},
            "space.loop.optimizer.lrr",
            "unknown key 'lrr'; did you mean 'lr'?",
            id="a key that does not exist",
        ),
        pytest.param({"space": {CHANGED_SPACE: {"uniform": [1.0, 0.1]}}}, CHANGED_SPACE, "is inverted", id="inverted"),
        pytest.param({"space": {CHANGED_SPACE: {"loguniform": [0, 1]}}}, CHANGED_SPACE, "no zero", id="log of zero"),
        pytest.param({"space": {CHANGED_SPACE: {"uniform": [-1, 1]}}}, CHANGED_SPACE, "with -1.0 here", id="schema"),
        pytest.param({"metric": "top_1"}, "metric", "did you mean 'top1'?", id="a metric that is never reported"),
        pytest.param({"space": {"loop.epochs": {"choice": [3]}}}, "space", "one value only", id="no freedom"),
        pytest.param({"space": {}}, "search", "`space` is empty", id="no space"),
        pytest.param({"space": {"data": {"choice": ["a", "b"]}}}, "space.data", "no trial is better by it", id="fixed"),
        pytest.param(
            {"search": {"name": "grid"}},
            CHANGED_SPACE,
            "infinitely many values",
            id="grid over a range",
        ),
        pytest.param(
            {
                "search": {"name": "bayes", "sampler": "gp"},
                "space": {
                    "loop.optimizer.name": {"choice": ["sgd", "adamw"]},
                    "loop.optimizer.momentum": {"uniform": [0, 0.9], "when": {"loop.optimizer.name": "sgd"}},
                },
            },
            "when",
            "`sampler: gp` has no conditional keys",
            id="a sampler without conditions",
        ),
        pytest.param(
            {"space": {"loop.optimizer.momentum": {"uniform": [0, 0.9], "when": {"loop.optimizer.nam": "sgd"}}}},
            "when",
            "is not searched",
            id="a condition on an unsearched key",
        ),
        pytest.param(
            {"search": {"name": "pbt"}, "space": {"model.name": {"choice": ["lenet5", "resnet18"]}}},
            "space.model.name",
            "keeps its weights",
            id="pbt cannot change a network",
        ),
        pytest.param(
            {"scheduler": {"name": "asha", "grace_epochs": 4}},
            "grace_epochs",
            "all end after epoch 4",
            id="a scheduler that never acts",
        ),
        pytest.param({"base": "lenett"}, "base", "did you mean 'lenet'?", id="a base that is not there"),
        pytest.param({"base": "stage:lenet"}, "base", "write 'lenet'", id="a base by its result"),
        pytest.param(
            {"search": {"name": "bisect"}, "space": {"augment.preset": {"choice": ["none", "small"]}}},
            "augment.preset",
            "needs a range of numbers",
            id="bisect over choices",
        ),
        pytest.param(
            {"metric": ["top1", "latency_ms"], "scheduler": {"name": "asha"}},
            "search",
            "several metrics need",
            id="a scheduler with several metrics",
        ),
    ],
)
def test_a_search_that_would_be_in_vain_is_refused(
    tmp_path: Path, changes: dict[str, Any], place: str, words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, search=SEARCH | changes)
    lines = str(caught.value).splitlines()
    assert any(place in line and words in line for line in lines), lines


def test_a_training_may_not_set_what_was_searched(tmp_path: Path) -> None:
    final = {
        "kind": "train",
        "base": "stage:search",
        "task": "classification",
        "data": "digits",
        "loop": {"optimizer": {"lr": 0.1}},
    }
    with pytest.raises(ConfigError, match=r"'loop\.optimizer\.lr' is searched by 'stage:search'"):
        load(tmp_path, search=SEARCH, final=final)
