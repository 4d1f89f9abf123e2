"""Which dashboard is meant."""

import pytest

from orchestrator.jobs import ADDRESS_VARIABLES, DEFAULT_ADDRESS, dashboard_address


@pytest.mark.parametrize(
    ("address", "environment", "expected"),
    [
        pytest.param("http://a:1", {"RAY_DASHBOARD_URL": "http://b:2"}, "http://a:1", id="given"),
        pytest.param("a:1", {}, "http://a:1", id="without scheme"),
        pytest.param(
            None, {"RAY_DASHBOARD_URL": "http://b:2", "RAY_ADDRESS": "http://c:3"}, "http://b:2", id="ours first"
        ),
        pytest.param(None, {"RAY_ADDRESS": "http://c:3"}, "http://c:3", id="ray address of a dashboard"),
        pytest.param(None, {"RAY_ADDRESS": "c:6379"}, DEFAULT_ADDRESS, id="ray address of another port"),
        pytest.param(None, {}, DEFAULT_ADDRESS, id="this machine"),
    ],
)
def test_dashboard_address(
    monkeypatch: pytest.MonkeyPatch, address: str | None, environment: dict[str, str], expected: str
) -> None:
    for name in ADDRESS_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert dashboard_address(address) == expected
