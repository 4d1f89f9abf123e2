"""Reading a rate off a range test: on losses that fall in a known place, with noise and divergence."""

import math
from pathlib import Path

import numpy as np
import pytest

from foundation.errors import ConfigError, RunFailed
from orchestrator.pipeline.load import load_pipeline
from orchestrator.tune.lr_find import HIGHEST, LOWEST, chosen_stage, draw, local_lines, read_off

RATES = [float(rate) for rate in np.geomspace(LOWEST, HIGHEST, 120)]
PIPELINES = Path(__file__).resolve().parents[4] / "pipelines"
MIDDLE, UP = -2.5, -0.5


def losses(noise: float = 0.0, seed: int = 0) -> list[float]:
    """Fall from 2 to 1 around 10^MIDDLE, explode beyond 10^UP."""
    rng = np.random.default_rng(seed)
    place = np.log10(RATES)
    fall = 2.0 - 1.0 / (1.0 + np.exp(-4.0 * (place - MIDDLE)))
    return [float(value) for value in fall + np.exp(6.0 * (place - UP)) + noise * rng.standard_normal(len(place))]


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.15])
def test_the_suggested_rate_lies_in_the_fall_whatever_the_noise(noise: float) -> None:
    for seed in range(5):
        found = read_off(RATES, losses(noise, seed), "")
        assert 2.6 < -math.log10(found.begin) < 4.0
        assert 2.0 < -math.log10(found.steepest) < 3.2
        assert 0.7 < -math.log10(found.lowest) < 2.0
        assert found.begin < found.suggested <= found.lowest / 10
        assert found.lower <= found.suggested / 3


def test_a_loss_that_never_falls_is_said() -> None:
    with pytest.raises(RunFailed, match="falls at no learning rate"):
        read_off(RATES, [2.0 + 0.5 * index for index in range(len(RATES))], "")


def test_a_loss_that_is_no_number_from_the_start_is_said() -> None:
    with pytest.raises(RunFailed, match="after 3 steps"):
        read_off(RATES[:3], [2.0, 2.0, 2.0], "")


def test_local_lines_are_exact_on_a_line() -> None:
    places = np.linspace(-6.0, 1.0, 50)
    heights, slopes = local_lines(places, 3.0 * places - 1.0)
    np.testing.assert_allclose(heights, 3.0 * places - 1.0)
    np.testing.assert_allclose(slopes, 3.0)


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    draw(read_off(RATES, losses(0.1), ""), tmp_path / "lr.png")
    assert (tmp_path / "lr.png").stat().st_size > 10_000


def test_a_search_is_tested_by_its_base() -> None:
    loaded = load_pipeline(PIPELINES / "tune.yaml", ())
    name, stage = chosen_stage(loaded, "search")
    assert (name, stage.kind, stage.loop.optimizer.name) == ("search", "train", "adamw")
    with pytest.raises(ConfigError, match="give --stage; train stages and searches: search, final"):
        chosen_stage(loaded, None)
    with pytest.raises(ConfigError, match="no train stage 'serch'; did you mean 'search'"):
        chosen_stage(loaded, "serch")
