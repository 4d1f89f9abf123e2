"""Starting and joining a Ray cluster, with Ray's own start replaced."""

from types import SimpleNamespace

import pytest
import ray

from foundation.errors import InfrastructureError
from orchestrator.cluster import Cluster


@pytest.fixture
def starts(monkeypatch):
    """Outcomes of the next starts, in order; what is left was not asked for."""
    outcomes = []

    def init(**_):
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray._private.worker, "_worker_logs_enabled", True)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return outcomes


def test_a_cluster_that_does_not_start_in_time_is_started_once_more(starts, tmp_path):
    starts += [Exception("the node timed out"), SimpleNamespace(address_info={"session_dir": str(tmp_path)})]
    Cluster(tmp_path / "ray.log").connect(60)
    assert not starts


def test_a_cluster_that_never_starts_is_an_error_with_its_reason(starts, tmp_path):
    starts += [Exception("the node timed out."), Exception("no memory."), Exception("not asked for")]
    with pytest.raises(InfrastructureError, match=r"a Ray cluster on this machine: no memory\. See .*ray\.log"):
        Cluster(tmp_path / "ray.log").connect(60)
    assert len(starts) == 1


def test_a_cluster_elsewhere_is_asked_once(starts, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    starts += [ConnectionError("nobody there"), Exception("not asked for")]
    with pytest.raises(InfrastructureError, match=r"the Ray cluster at 10\.0\.0\.1:6379: nobody there"):
        Cluster(tmp_path / "ray.log").connect(60)
    assert len(starts) == 1
