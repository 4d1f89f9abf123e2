"""From two trained classifiers to a registered ensemble, measured here and on two workers, asked in a clean process."""

import json
import subprocess
import sys

import pytest

from tests.integration.head import Head
from tests.integration.project import Project, Run

pytestmark = pytest.mark.integration
DATA = {"stones": {"format": "digits"}}
LENET = {
    "kind": "train",
    "task": "classification",
    "data": "stones",
    "model": {"name": "lenet5"},
    "image_size": [32, 32],
    "augment": {"preset": "none"},
    "loop": {"epochs": 3, "batch_size": 32, "optimizer": {"name": "adamw", "lr": 2.0e-3}},
    "resources": {"num_workers": 0},
}
MODELS = ["stage:one", "stage:two"]
JOINED = {"kind": "ensemble", "models": MODELS, "data": "stones", "split": "val"}
ASK = """
import json, sys
import numpy as np
from deploy.pyfunc import _load_pyfunc
print(json.dumps(_load_pyfunc(sys.argv[1]).predict(np.zeros((8, 8, 3), np.uint8))))
"""


@pytest.fixture(scope="module")
def joined(project: Project, cluster: Head) -> Run:
    stages = {
        "one": LENET,
        "two": LENET | {"image_size": [28, 28]},
        "here": JOINED | {"method": "weighted_averaging"},
        "there": JOINED | {"method": "weighted_averaging", "resources": {"num_workers": 2}, "batch_size": 8},
        "test": {"kind": "evaluate", "model": "stage:here", "data": "stones"},
        "register": {
            "kind": "register",
            "model": "stage:here",
            "name": "digit-ensemble",
            "gate": [{"metric": "test.top1", "min": 0.3}, {"metric": "here.member/one", "min": 0.1}],
        },
        "again": {"kind": "evaluate", "model": "models:/digit-ensemble@champion", "data": "stones"},
    }
    run = project.write("ensemble", {name: stages[name] for name in stages if name != "again"}, data=DATA)
    run.on(cluster).to_the_end()
    again = {"again": stages["again"]}
    project.write("ensemble-again", again, data=DATA).to_the_end()
    return run


def test_workers_measure_and_fit_what_one_process_does(joined: Run) -> None:
    here, there = joined.metrics("here"), joined.metrics("there")
    assert there == pytest.approx(here, abs=2e-4)
    assert {"member/one", "member/two", "weight/one", "weight/two", "top1"} <= set(here)


def test_the_registered_ensemble_measures_as_the_stage_did(project: Project, joined: Run) -> None:
    again = Run(project.folder / "ensemble-again.yaml", project.storage / "ensemble-again")
    assert again.metrics("again") == pytest.approx(joined.metrics("test"), abs=1e-6)


def test_the_bundle_answers_in_a_process_that_knows_nothing(joined: Run) -> None:
    bundle = joined.stage("here") / "bundle"
    command = [sys.executable, "-c", ASK, str(bundle)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    (answer,) = json.loads(done.stdout)
    assert sum(answer["scores"]) <= 1 + 1e-5
    assert set(answer) == {"classes", "scores", "labels"}


def test_the_models_lineage_names_its_members(joined: Run) -> None:
    manifest = json.loads((joined.stage("here") / "bundle" / "bundle.json").read_text())
    assert manifest["lineage"]["members"] == MODELS
    assert manifest["lineage"]["stage"] == "here"
