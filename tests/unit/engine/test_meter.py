"""The meter asks for a stop every half second, and lets no loss pass that is no number."""

import itertools
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import engine.meter
from engine.journal import Journal
from engine.meter import StepMeter
from engine.runtimes import InProcessRuntime
from engine.settings import LoopSettings
from foundation.errors import NonFiniteLossError


@pytest.fixture
def meter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StepMeter:
    """A meter that logs every second step; its clock moves on by ten seconds with each, and a little with each look."""
    looks = itertools.count()
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(
        "engine.meter.time", SimpleNamespace(clock=clock, perf_counter=lambda: clock.now + 1e-6 * next(looks))
    )
    loop = LoopSettings(log_every_steps=2)
    meter = StepMeter(Journal(tmp_path, is_writer=False), loop, InProcessRuntime(use_gpu=False), tmp_path / "stop")
    meter.start_epoch(0)
    return meter


def _step(meter: StepMeter, step: int, loss: float = 1.0) -> bool:
    engine.meter.time.clock.now += 10.0
    meter.add((step,), {"loss_cls": torch.tensor(loss)})
    meter.check_finite(step - 1)
    return meter.step_done(step, 0.1, None)


def test_a_stop_is_seen_after_the_next_of_slow_steps_though_records_are_written(meter: StepMeter) -> None:
    assert not any(_step(meter, step) for step in range(1, 5))
    meter.stop_file.touch()
    assert _step(meter, 5)


def test_a_loss_that_is_no_number_stops_its_own_step(meter: StepMeter) -> None:
    with pytest.raises(NonFiniteLossError, match=r"step 3; .* samples \[3\]"):
        _step(meter, 3, float("nan"))


def test_a_gpus_loss_is_looked_at_one_step_later_or_before_anything_is_kept(meter: StepMeter) -> None:
    meter._on_gpu = True
    _step(meter, 3, float("inf"))
    with pytest.raises(NonFiniteLossError, match=r"step 3; .* samples \[3\]"):
        meter.check_rest()
    _step(meter, 4, float("inf"))
    with pytest.raises(NonFiniteLossError, match=r"step 4; .* samples \[4\]"):
        _step(meter, 5)


def test_the_last_loss_of_an_epoch_is_looked_at(meter: StepMeter) -> None:
    meter._on_gpu = True
    _step(meter, 3, float("nan"))
    with pytest.raises(NonFiniteLossError, match="step 3"):
        meter.epoch_done(3)
