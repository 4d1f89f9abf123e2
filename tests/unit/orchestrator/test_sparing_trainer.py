"""Which of Ray Train's helpers a run does without."""

from types import SimpleNamespace

import pytest
import ray
from ray.train.torch import TorchTrainer

from orchestrator.ray_train import SPARED, SparingTrainer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")  # of its own settings


@pytest.fixture
def trainer(monkeypatch):
    def build(kind, actor_id=None):
        monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_actor_id=lambda: actor_id))
        return kind(lambda: None)

    return build


def helpers(trainer):
    return {type(callback).__name__ for callback in trainer._create_default_callbacks()}


def test_ray_has_the_helpers_under_these_names(trainer):
    assert helpers(trainer(TorchTrainer)) >= set(SPARED)


def test_a_run_does_without_them(trainer):
    assert helpers(trainer(SparingTrainer)) == helpers(trainer(TorchTrainer)) - set(SPARED)


def test_a_trial_keeps_what_frees_the_room_of_a_killed_controller(trainer):
    assert helpers(trainer(SparingTrainer, "trial")) == helpers(trainer(TorchTrainer)) - {"DatasetsCallback"}
