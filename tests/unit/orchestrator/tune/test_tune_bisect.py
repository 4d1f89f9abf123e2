"""Narrowing one number: against scipy's golden section, and a threshold found by halving."""

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import TypeAdapter
from scipy.optimize import minimize_scalar

from orchestrator.tune.bisect import GOLDEN, GoldenSection, Halving
from orchestrator.tune.settings import Domain

DOMAIN: TypeAdapter[Any] = TypeAdapter(Domain)
LINEAR = DOMAIN.validate_python({"uniform": [0.0, 10.0]})
LOGARITHMIC = DOMAIN.validate_python({"loguniform": [1e-6, 1.0]})


def run(bisection: Any, metric: Callable[[float], float | None], most: int = 100) -> list[float]:
    tried = []
    while (value := bisection.next()) is not None and len(tried) < most:
        tried.append(value)
        bisection.tell(metric(value))
    return tried


@pytest.mark.parametrize("peak", [0.3, 2.0, 5.0, 9.9])
def test_golden_section_finds_the_peak_as_scipy_does(peak: float) -> None:
    bisection = GoldenSection(LINEAR, 1e-4, "max")
    tried = run(bisection, lambda value: -((value - peak) ** 2))
    low, high = bisection.bracket()
    oracle = minimize_scalar(lambda value: (value - peak) ** 2, bracket=(0.0, 10.0), method="golden").x
    assert low - 1e-9 <= oracle <= high + 1e-9
    assert high - low <= 1e-3
    # two trials at first, one for each further narrowing by 0.618
    assert len(tried) == 1 + math.ceil(math.log(1e-4) / math.log(GOLDEN))


def test_golden_section_narrows_logarithmic_ranges_by_exponents() -> None:
    bisection = GoldenSection(LOGARITHMIC, 0.02, "min")
    run(bisection, lambda value: (math.log10(value) + 3) ** 2)
    low, high = bisection.bracket()
    assert low <= 1e-3 <= high
    assert math.log10(high / low) <= 6 * 0.02 + 1e-9


def test_a_trial_without_a_result_is_on_the_wrong_side() -> None:
    bisection = GoldenSection(LINEAR, 0.01, "max")
    run(bisection, lambda value: value if value < 6 else None)
    low, high = bisection.bracket()
    assert low <= 6 <= high + 0.1


@pytest.mark.parametrize("rises", [True, False])
def test_halving_finds_where_a_target_is_crossed(rises: bool) -> None:
    bisection = Halving(LINEAR, 0.01, target=0.0)
    sign = 1 if rises else -1
    tried = run(bisection, lambda value: sign * (value - math.e))
    low, high = bisection.bracket()
    assert low <= math.e <= high
    assert high - low <= 0.1
    assert tried[:3] == [0.0, 10.0, 5.0]
    assert len(tried) == 2 + 7  # 2**-7 < 0.01


def test_halving_ends_where_the_target_is_nowhere_crossed() -> None:
    assert run(Halving(LINEAR, 0.01, target=100.0), lambda value: value) == [0.0, 10.0]


@pytest.mark.parametrize(
    ("bisection", "found"),
    [
        (Halving(LINEAR, 0.3, target=4.0), "top1 crosses 4 at lr between 2.5 and 5"),
        (Halving(LINEAR, 0.3, target=50.0), r"top1 does not cross 50 .* 0 at 0 and 10 at 10; give another `target`"),
        (GoldenSection(LINEAR, 0.7, "max"), "the best top1 lies at lr between 3.82 and 10"),
    ],
)
def test_a_search_says_what_it_found(bisection: Any, found: str) -> None:
    run(bisection, lambda value: value)
    assert re.match(found, bisection.finding("lr", "top1"))
