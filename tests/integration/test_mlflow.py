"""A real MLflow server that dies and comes back, a driver that is killed, a model loaded in a clean process, the UI."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from detection.task import DetectionTask
from engine.bundle import Manifest, save_bundle
from orchestrator.pipeline.settings import RegisterStage, TrackingSettings
from orchestrator.register import register_bundle
from orchestrator.tracking.client import Client
from orchestrator.tracking.location import tracking_uri
from orchestrator.tracking.outbox import load_state
from orchestrator.tracking.runs import Tracker

pytestmark = pytest.mark.integration
START_TIMEOUT_S = 120.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(address: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"{address} did not answer")


class Server:
    """`mlflow server` on one port and database; it can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        wait_for(f"{self.uri}/health")

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.kill()


def write_steps(journal: Path, steps: range, attempt: int) -> None:
    with journal.open("a") as stream:
        for step in steps:
            stream.write(json.dumps({"kind": "step", "time": 100.0 * attempt + step, "step": step, "loss": 1.0}) + "\n")


def wait_until_logged(client: Client, run_id: str, last: int) -> list[int]:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        steps = [point.step for point in client.call(lambda api: api.get_metric_history(run_id, "train/loss"))]
        if steps and max(steps) >= last:
            return steps
        time.sleep(0.2)
    pytest.fail(f"steps in MLflow: {steps}")


def test_server_that_dies_and_comes_back_misses_no_step_and_doubles_none(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.tracking.client.FAIL_FAST_S", 1.0)
    settings = TrackingSettings(uri=server.uri)
    tracker = Tracker.open(tmp_path, settings, tmp_path / "log")
    tracker.start_pipeline("dying", {"name": "dying"})
    folder = tmp_path / "dying" / "detector" / "abc"
    run = tracker.start_stage("detector", "train", {}, folder)
    assert run.run_id is not None
    journal = folder / "journal.jsonl"
    run.follow(journal, poll_s=0.05)
    write_steps(journal, range(1, 6), attempt=0)
    wait_until_logged(tracker.client, run.run_id, 5)

    server.kill()
    write_steps(journal, range(4, 11), attempt=1)
    began = time.monotonic()
    run.log_text("written while the server was away", "note.txt")
    run.log_metrics({"test/map": 0.5})
    assert time.monotonic() - began < 10
    assert tracker.undelivered() is not None

    server.start()
    wait_until_logged(Client(server.uri), run.run_id, 10)
    write_steps(journal, range(11, 13), attempt=1)
    server.kill()
    run.finish("FINISHED")
    tracker.finish("FINISHED")
    said = tracker.undelivered()
    assert said is not None and "orchestrator run" in said

    server.start()
    later = Tracker.open(tmp_path, settings, tmp_path / "log")
    later.start_pipeline("dying", {"name": "dying"})
    later.finish("FINISHED")
    state = load_state(folder)
    assert state is not None and not state.pending
    assert wait_until_logged(later.client, run.run_id, 12) == list(range(1, 13))
    found = later.client.call(lambda api: api.get_run(run.run_id))
    assert (found.info.status, found.data.metrics["test/map"]) == ("FINISHED", 0.5)


VANISHING_DRIVER = """
import sys
from pathlib import Path
from orchestrator.pipeline.settings import TrackingSettings
from orchestrator.tracking.runs import Tracker
folder = Path(sys.argv[1])
tracker = Tracker.open(folder, TrackingSettings(uri=sys.argv[2]), folder / "log")
parent = tracker.start_pipeline("vanishing", {"name": "vanishing"})
done = tracker.start_stage("done", "evaluate", {}, folder / "done")
done.finish("FINISHED")
open_run = tracker.start_stage("open", "train", {}, folder / "open")
print(parent, done.run_id, open_run.run_id, flush=True)
sys.stdin.read()
"""


def test_sigkill_of_the_driver_leaves_true_statuses(server: Server, tmp_path: Path) -> None:
    command = [sys.executable, "-c", VANISHING_DRIVER, str(tmp_path), server.uri]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        run_ids = driver.stdout.readline().split()
        os.kill(driver.pid, signal.SIGKILL)
    client = Client(server.uri)
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        runs = client.call(lambda api: [api.get_run(run_id) for run_id in run_ids])
        statuses = [run.info.status for run in runs]
        if statuses == ["KILLED", "FINISHED", "KILLED"]:
            return
        time.sleep(0.2)
    pytest.fail(f"statuses: {statuses}; log: {(tmp_path / 'log').read_text()}")


PREDICT = """
import json, sys
import mlflow.pyfunc
mlflow.set_tracking_uri(sys.argv[1])
answers = mlflow.pyfunc.load_model(sys.argv[2]).predict([sys.argv[3]], params=None)
print("ANSWER" + json.dumps(answers))
"""


def make_bundle(folder: Path) -> Path:
    settings = {"model": {"name": "yolo", "size": "pico"}, "image_size": [64, 64]}
    task = DetectionTask.from_bundle(settings, ("ruby", "opal"))
    save_bundle(folder, task.build_model().state_dict(), Manifest("detection", settings, task.classes, {}))
    return folder


@pytest.mark.parametrize("store", ["database", "server"])
def test_registered_model_loads_and_predicts_in_a_clean_process(server: Server, tmp_path: Path, store: str) -> None:
    settings = TrackingSettings(uri=server.uri if store == "server" else None, experiment="clean")
    tracker = Tracker.open(tmp_path / "runs", settings, tmp_path / "log")
    tracker.start_pipeline("clean", {"name": "clean"})
    run = tracker.start_stage("detector", "train", {}, tmp_path / "stage")
    stage = RegisterStage(kind="register", model="stage:detector", name="clean")
    version = register_bundle(tracker, stage, make_bundle(tmp_path / "bundle"), {"test.map": 0.5}, {}, str(run.run_id))
    tracker.finish("FINISHED")
    cv2.imwrite(str(tmp_path / "image.png"), np.full((48, 80, 3), 128, np.uint8))

    uri = tracking_uri(tmp_path / "runs", settings.uri)
    command = [sys.executable, "-c", PREDICT, uri, version.uri, str(tmp_path / "image.png")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.split("ANSWER")[1])[0]
    assert set(answer) == {"boxes", "scores", "labels", "classes"}


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_ui_takes_the_next_free_port_and_leaves_nothing_running(tmp_path: Path, end: signal.Signals) -> None:
    runs = tmp_path / "runs"
    tracker = Tracker.open(runs, TrackingSettings(), tmp_path / "log")
    tracker.start_pipeline("shown", {"name": "shown"})
    tracker.finish("FINISHED")
    code = "import sys; from orchestrator.ui import open_ui; open_ui(sys.argv[1], port=int(sys.argv[2]))"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-u", "-c", code, tracking_uri(runs, None), str(port)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as ui:
            assert ui.stdout is not None
            said = [ui.stdout.readline(), ui.stdout.readline()]
            address = said[1].split()[3]
            with urllib.request.urlopen(address, timeout=30) as page:
                assert "MLflow" in page.read().decode()
            ui.send_signal(end)
            rest = ui.stdout.read()
    assert said[0].startswith(f"Port {port} is taken; using ")
    assert "Ended." in rest
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(address, timeout=5)
