"""Which dashboard is meant, and what `status` prints."""

import json
import logging
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from foundation.errors import InfrastructureError
from orchestrator import jobs
from orchestrator.cli import main
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


@pytest.fixture
def cluster_of_one_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's client as far as `status` needs it."""
    state = SimpleNamespace(value="RUNNING")
    job = SimpleNamespace(
        submission_id="job-1",
        metadata={"pipeline": "cells"},
        status=state,
        driver_exit_code=None,
        start_time=None,
        end_time=None,
    )
    client = SimpleNamespace(list_jobs=lambda: [job])
    monkeypatch.setattr(jobs, "_cluster", lambda _: nullcontext((client, "http://h:8265")))


@pytest.mark.usefixtures("cluster_of_one_job")
def test_status_is_a_table_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("job-1  cells     RUNNING")
    assert main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["state"] == "RUNNING"


def test_rays_clients_tell_of_nothing_but_trouble() -> None:
    with pytest.raises(InfrastructureError), jobs._cluster("http://127.0.0.1:9"):
        pass
    from ray.dashboard.modules import dashboard_sdk
    from ray.dashboard.modules.job import sdk

    assert [module.logger.level for module in (dashboard_sdk, sdk)] == [logging.WARNING] * 2
