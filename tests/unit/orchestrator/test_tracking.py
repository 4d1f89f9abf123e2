"""Parent and child runs on a real database: content, reopening, an absent store, and what waits in the outbox."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import ConfigError, InfrastructureError
from orchestrator.pipeline.settings import TrackingSettings
from orchestrator.tracking.client import Client
from orchestrator.tracking.location import tracking_uri, without_password
from orchestrator.tracking.outbox import MAX_ATTEMPTS, load_state
from orchestrator.tracking.provenance import flat_params, git_commit, package_version
from orchestrator.tracking.runs import StageRun, Tracker

OpenTracker = Callable[[], Tracker]
DATASET = {"name": "cells", "digest": "d" * 64, "source": "/data", "split": "train", "context": "training"}


def write_steps(journal: Path, steps: Sequence[int], attempt: int = 0) -> None:
    journal.parent.mkdir(parents=True, exist_ok=True)
    with journal.open("a") as stream:
        for step in steps:
            record = {
                "kind": "step",
                "attempt": attempt,
                "time": 100.0 * attempt + step,
                "step": step,
                "loss": 1 / step,
            }
            stream.write(json.dumps(record) + "\n")


def start(tracker: Tracker, folder: Path, run_id: str | None = None) -> StageRun:
    tracker.start_pipeline("cells", {"name": "cells"})
    return tracker.start_stage("detector", "train", {"lr": 0.1}, folder, run_id=run_id)


def logged_steps(tracker: Tracker, run_id: str | None) -> list[int]:
    return [point.step for point in tracker.client.call(lambda api: api.get_metric_history(run_id, "train/loss"))]


def fetch(tracker: Tracker, run_id: str | None) -> Any:
    return tracker.client.call(lambda api: api.get_run(run_id))


class Switch:
    """Makes a client's store go away and come back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, client: Client) -> None:
        self.is_away = False
        real = client._mlflow
        switch = self

        class Api:
            def __getattr__(self, name: str) -> Any:
                if switch.is_away:
                    raise ConnectionError("connection refused")
                return getattr(real, name)

        monkeypatch.setattr(client, "_mlflow", Api())
        monkeypatch.setattr("orchestrator.tracking.client.FAIL_FAST_S", 0.0)


def test_parent_and_child_carry_config_params_tags_and_data(open_tracker: OpenTracker, tmp_path: Path) -> None:
    tracker = open_tracker()
    config = {"name": "cells", "stages": {"detector": {"loop": {"epochs": 3}}}, "uri": "http://me:secret@host"}
    parent = tracker.start_pipeline("cells", config)
    run = tracker.start_stage("detector", "train", {"lr": 0.1, "size": [64, 64]}, tmp_path / "stage", DATASET)
    run.log_text("hello", "notes/hello.txt")
    (tmp_path / "picture.png").write_bytes(b"png")
    run.log_artifacts([tmp_path / "picture.png", tmp_path / "missing.png"], "pictures")
    run.finish("FINISHED")
    tracker.finish("FINISHED")

    parent_run, child = fetch(tracker, parent), fetch(tracker, run.run_id)
    assert (parent_run.info.status, child.info.status) == ("FINISHED", "FINISHED")
    assert parent_run.data.params["stages.detector.loop.epochs"] == "3"
    assert parent_run.data.params["uri"] == "http://***@host"
    assert parent_run.data.tags["orchestrator.version"] == package_version()
    assert child.data.params == {"lr": "0.1", "size": "[64, 64]"}
    assert child.data.tags["mlflow.parentRunId"] == parent
    assert child.data.tags["orchestrator.data_digest"] == "d" * 64
    assert child.inputs.dataset_inputs[0].dataset.name == "cells"
    files = tracker.client.call(lambda api: [file.path for file in api.list_artifacts(run.run_id, "pictures")])
    assert files == ["pictures/picture.png"]
    assert tracker.undelivered() is None


def test_journal_is_followed_with_one_point_a_step_over_a_restart(open_tracker: OpenTracker, tmp_path: Path) -> None:
    tracker = open_tracker()
    run = start(tracker, tmp_path / "stage")
    journal = tmp_path / "stage" / "journal.jsonl"
    run.follow(journal, poll_s=0.01)
    write_steps(journal, [1, 2, 3, 4])
    write_steps(journal, [3, 4, 5], attempt=1)
    run.finish("FINISHED")
    assert logged_steps(tracker, run.run_id) == [1, 2, 3, 4, 5]


def test_reopened_run_keeps_params_and_repeats_no_step(open_tracker: OpenTracker, tmp_path: Path) -> None:
    first = open_tracker()
    run = start(first, tmp_path / "stage")
    journal = tmp_path / "stage" / "journal.jsonl"
    run.follow(journal)
    write_steps(journal, [1, 2])
    run.finish("KILLED")
    first.finish("KILLED")
    (tmp_path / "stage" / "tracking.json").unlink()  # as if only the id had been kept

    second = open_tracker()
    second.start_pipeline("cells", {"name": "cells"})
    again = second.start_stage("detector", "train", {"lr": 0.5, "new": 1}, tmp_path / "stage", run_id=run.run_id)
    assert fetch(second, run.run_id).info.status == "RUNNING"
    again.follow(journal)
    write_steps(journal, [2, 3], attempt=1)
    again.finish("FINISHED")
    assert again.run_id == run.run_id
    assert logged_steps(second, run.run_id) == [1, 2, 3]
    found = fetch(second, run.run_id)
    assert found.data.params == {"lr": "0.1", "new": "1"}
    assert found.data.tags["orchestrator.changed_params"] == "lr"
    assert found.info.status == "FINISHED"


def test_a_run_that_the_store_does_not_know_becomes_a_new_one(open_tracker: OpenTracker, tmp_path: Path) -> None:
    tracker = open_tracker()
    run = start(tracker, tmp_path / "stage", run_id="0" * 32)
    assert run.run_id not in (None, "0" * 32)


def test_store_that_dies_stops_nothing_and_gets_everything_later(
    open_tracker: OpenTracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = open_tracker()
    switch = Switch(monkeypatch, tracker.client)
    parent = tracker.start_pipeline("cells", {"name": "cells"})
    switch.is_away = True
    folder = tmp_path / "runs" / "cells" / "detector" / "abc"
    run = tracker.start_stage("detector", "train", {"lr": 0.1}, folder, DATASET)
    run.follow(folder / "journal.jsonl", poll_s=0.01)
    write_steps(folder / "journal.jsonl", [1, 2])
    run.log_metrics({"test/map": 0.5})
    run.finish("FINISHED")
    tracker.finish("FINISHED")
    assert run.run_id is None
    said = tracker.undelivered()
    assert said is not None and "2 run(s)" in said and str(folder / "tracking.json") in said

    later = open_tracker()
    later.start_pipeline("cells", {"name": "cells"})
    state = load_state(folder)
    assert state is not None and state.run_id is not None and not state.pending
    found = fetch(later, state.run_id)
    assert found.info.status == "FINISHED"
    assert found.data.metrics["test/map"] == 0.5
    assert found.data.tags["mlflow.parentRunId"] == parent
    assert logged_steps(later, state.run_id) == [1, 2]
    assert fetch(later, parent).info.status == "FINISHED"


def test_run_whose_driver_vanished_is_closed_by_the_next_one(open_tracker: OpenTracker, tmp_path: Path) -> None:
    first = open_tracker()
    first.start_pipeline("cells", {"name": "cells"})
    folder = tmp_path / "runs" / "cells" / "detector" / "abc"
    run = first.start_stage("detector", "train", {}, folder)
    for outbox in first._outboxes:
        outbox.close()  # the lock of a process that is gone

    open_tracker().start_pipeline("cells", {"name": "cells"})
    assert fetch(first, run.run_id).info.status == "KILLED"


def test_a_live_run_is_left_alone(open_tracker: OpenTracker, tmp_path: Path) -> None:
    first = open_tracker()
    first.start_pipeline("cells", {"name": "cells"})
    run = first.start_stage("detector", "train", {}, tmp_path / "runs" / "cells" / "detector" / "abc")
    second = open_tracker()
    second.start_pipeline("cells", {"name": "cells"})
    assert fetch(second, run.run_id).info.status == "RUNNING"


def test_what_the_store_refuses_is_named_and_blocks_nothing(open_tracker: OpenTracker, tmp_path: Path) -> None:
    tracker = open_tracker()
    run = start(tracker, tmp_path / "stage")
    run.log_text("x", "../outside.txt")
    run.log_metrics({"after": 1.0})
    for _ in range(MAX_ATTEMPTS):
        run._outbox.deliver()
    assert fetch(tracker, run.run_id).data.metrics["after"] == 1.0
    assert "refused" in (tracker.undelivered() or "")


def test_unreachable_server_is_said_at_once(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(
        InfrastructureError, match=r"127\.0\.0\.1:9 cannot be reached: Connection refused\. .*tracking\.uri"
    ):
        Tracker.open(tmp_path, TrackingSettings(uri="http://127.0.0.1:9"), tmp_path / "log")
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("uri", ["postgresql://me:secret@127.0.0.1:9/db", "sqlite:////proc/none/mlflow.db"])
def test_unreachable_database_is_said_at_once_without_the_password(tmp_path: Path, uri: str) -> None:
    with pytest.raises(InfrastructureError) as caught:
        Tracker.open(tmp_path, TrackingSettings(uri=uri), tmp_path / "log")
    assert "secret" not in str(caught.value)


def test_after_a_failure_calls_fail_at_once(store_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(store_uri)
    switch = Switch(monkeypatch, client)
    monkeypatch.setattr("orchestrator.tracking.client.FAIL_FAST_S", 60.0)
    switch.is_away = True
    with pytest.raises(InfrastructureError, match="cannot be reached"):
        client.call(lambda api: api.search_experiments())
    switch.is_away = False
    with pytest.raises(InfrastructureError, match="a moment ago"):
        client.call(lambda api: api.search_experiments())
    client.ask_again_now()
    assert client.call(lambda api: api.search_experiments())


def test_tracking_uri(tmp_path: Path) -> None:
    assert tracking_uri(tmp_path, None) == f"sqlite:///{tmp_path}/mlflow.db"
    assert tracking_uri(tmp_path, "http://host:5000") == "http://host:5000"
    assert tracking_uri(tmp_path, "mysql+pymysql://host/db") == "mysql+pymysql://host/db"
    with pytest.raises(ConfigError, match=r"'htp://host'.*http://HOST:PORT"):
        tracking_uri(tmp_path, "htp://host")


def test_password_is_hidden() -> None:
    assert (
        without_password("see http://me:pw@host/x and sqlite:////a:b@c") == "see http://***@host/x and sqlite:////a:b@c"
    )


def test_flat_params() -> None:
    config = {"a": {"b": 1, "c": [1, 2]}, "d": None, "e": {}, "f": Path("/x")}
    assert flat_params(config) == {"a.b": "1", "a.c": "[1, 2]", "d": "null", "e": "{}", "f": '"/x"'}


def test_git_commit_is_none_outside_a_repository(tmp_path: Path) -> None:
    assert git_commit(tmp_path) is None
