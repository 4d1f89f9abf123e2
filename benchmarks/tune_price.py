"""What `benchmarks.tune` times: a sweep as `orchestrator run` does it, and its trainings alone in waiting processes.

Each side runs in processes of its own: `python -m benchmarks.tune_price sweep|bare REQUEST` prints one line of JSON.
"""

import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import yaml

from engine.threads import thread_environment

DATA = {"format": "scenes", "num_images": 240}
STAGE = "search"
READY_S = 600.0
"""A waiting process has so many seconds to get ready."""
LOOK_S = 2.0
"""Between two looks at the CPU time of all processes."""


@dataclass(frozen=True)
class Request:
    """The same trainings for both sides."""

    trials: int
    epochs: int
    processes: int

    def base(self) -> dict[str, Any]:
        """The train stage: the smallest detector on small images, evaluated and kept after every epoch."""
        return {
            "kind": "train",
            "task": "detection",
            "data": "scenes",
            "model": {"name": "yolo", "size": "pico"},
            "image_size": [160, 160],
            "loop": {"epochs": self.epochs, "batch_size": 16, "optimizer": {"name": "adamw", "weight_decay": 0.05}},
            "resources": {"num_workers": 1, "use_gpu": False},
        }

    def values(self) -> list[dict[str, Any]]:
        """One learning rate for each trial, within what all of them train with to their end."""
        return [{"loop.optimizer.lr": round(1e-3 * 1.1**index, 7)} for index in range(self.trials)]


def run_side(side: str, request: Request) -> dict[str, Any]:
    """Measure one side in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.tune_price", side, json.dumps(asdict(request))]
    environment = {**os.environ, **thread_environment(1)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{side} ended with exit code {done.returncode}:\n{done.stderr[-4000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


# The sweep


def sweep(request: Request, folder: Path) -> dict[str, Any]:
    """Run a pipeline of one tune stage: MLflow, ledger, display, pictures and all. The cluster starts before it."""
    from orchestrator.cluster import Cluster
    from orchestrator.conductor import RunOptions, run_pipeline
    from orchestrator.pipeline.load import load_pipeline
    from orchestrator.terminal import Display

    search = {"kind": "tune", "base": request.base(), "max_concurrent": request.processes}
    search["search"] = {"name": "manual", "trials": request.values()}
    content = {"name": "price", "data": {"scenes": DATA}, "stages": {STAGE: search}, "storage": str(folder / "runs")}
    path = folder / "price.yaml"
    path.write_text(yaml.safe_dump(content))
    started = time.time()
    cluster = Cluster(folder / "ray.log")
    cluster.connect(60)
    connected = time.time()
    watch = CpuWatch()
    watch.start()
    before = sum(watch.look().values())
    with Display(plain=True, stream=sys.stderr) as display:
        run_pipeline(load_pipeline(path), RunOptions(), display)
    ended, spent = time.time(), watch.look()
    cluster.close(keep_logs=False)
    folders = sorted(folder.glob(f"runs/price/{STAGE}/*/trials/*"))
    spans = [span_of(trial) for trial in folders]
    return {
        "cluster_s": connected - started,
        "wall_s": ended - connected,
        "first_trial_s": min(span["began"] for span in spans) - connected,
        "closing_s": ended - max(span["ended"] for span in spans),
        "between_s": gaps(spans),
        "train_s": [span["train_s"] for span in spans],
        "cpu_s": sum(spent.values()) - before,
        "cpu_s_of": {name: round(seconds, 1) for name, seconds in spent.items() if seconds > 0.1},
    }


class CpuWatch(threading.Thread):
    """CPU seconds of this process and all below it, asked while they live: Ray does not wait for its workers."""

    def __init__(self) -> None:
        super().__init__(daemon=True, name="cpu-watch")
        self._seen: dict[int, tuple[str, float]] = {}

    def run(self) -> None:
        while True:
            self.look()
            time.sleep(LOOK_S)

    def look(self) -> dict[str, float]:
        """Seconds by the name of the process."""
        me = psutil.Process()
        for process in [me, *me.children(recursive=True)]:
            with suppress(psutil.Error):
                name = "driver" if process == me else process.name().split("(")[0].strip()
                self._seen[process.pid] = (name, sum(process.cpu_times()[:2]))
        spent: dict[str, float] = defaultdict(float)
        for name, seconds in list(self._seen.values()):
            spent[name] += seconds
        return dict(spent)


def span_of(folder: Path) -> dict[str, Any]:
    """When and in which process a training began (its model built) and ended, by its journal."""
    from engine.journal import JOURNAL_FILE, read_journal

    records = list(read_journal(folder / JOURNAL_FILE))
    first = next(record for record in records if record["kind"] == "start")
    last = records[-1]
    return {
        "pid": first["workers"][0]["pid"],
        "began": first["time"],
        "ended": last["time"],
        "train_s": last["train_s"],
    }


def gaps(spans: Sequence[dict[str, Any]]) -> list[float]:
    """Seconds from the end of a training to the first step of the next one in the same process."""
    found = []
    for pid in {span["pid"] for span in spans}:
        own = sorted((span for span in spans if span["pid"] == pid), key=lambda span: span["began"])
        found += [later["began"] - earlier["ended"] for earlier, later in pairwise(own)]
    return found


# The same trainings alone


def bare(request: Request, folder: Path) -> dict[str, Any]:
    """Train back to back in processes that wait with imports done and images in memory, one queue for all."""
    context = multiprocessing.get_context("spawn")
    tasks, answers = context.Queue(), context.Queue()
    arguments = (asdict(request), str(folder), tasks, answers)
    processes = [context.Process(target=_wait_for_work, args=arguments) for _ in range(request.processes)]
    for process in processes:
        process.start()
    for _ in processes:
        answers.get(timeout=READY_S)
    started = time.time()
    for index in range(request.trials):
        tasks.put(index)
    for _ in processes:
        tasks.put(None)
    done = [answers.get() for _ in range(request.trials)]
    ended = time.time()
    for process in processes:
        process.join()
    return {
        "wall_s": ended - started,
        "sum_s": sum(answer["wall_s"] for answer in done),
        "between_s": gaps([span_of(folder / f"{index:04d}") for index in range(request.trials)]),
        "cpu_s": sum(answer["cpu_s"] for answer in done),
    }


def _wait_for_work(request: dict[str, Any], folder: str, tasks: Any, answers: Any) -> None:
    import torch

    from engine.loop import train
    from engine.runtimes import InProcessRuntime

    torch.set_num_threads(1)
    runtime = InProcessRuntime(use_gpu=False)
    wanted = Request(**request)
    warm = Request(wanted.trials, 1, wanted.processes)
    train(_job(warm, 0, Path(folder) / f"warm-{os.getpid()}"), runtime)
    answers.put("ready")
    while (index := tasks.get()) is not None:
        started, cpu_started = time.perf_counter(), time.process_time()
        train(_job(wanted, index, Path(folder) / f"{index:04d}"), runtime)
        answers.put({"wall_s": time.perf_counter() - started, "cpu_s": time.process_time() - cpu_started})


def _job(request: Request, index: int, folder: Path) -> Any:
    """The job that a trial of the sweep has, elsewhere."""
    from dataclasses import replace

    from orchestrator.tune.goals import Goals
    from orchestrator.tune.order import SweepOrder

    values = request.values()[index]
    goals = Goals(names=("map",), modes=("max",))
    order = SweepOrder(str(folder), request.base(), _read_data(), 0, goals, session="bare")
    return replace(order.job(index, order.stage(values)), folder=folder)


def _read_data() -> dict[str, Any]:
    from pydantic import TypeAdapter

    from vision.settings import DataSettings

    content: dict[str, Any] = TypeAdapter(DataSettings).validate_python(DATA).model_dump(mode="json")
    return content


def ratios(pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]], processes: int) -> dict[str, Any]:
    """Compare (bare, sweep) pairs: medians over the pairs."""

    def middle(values: Sequence[float]) -> float:
        return round(statistics.median(values), 3)

    by_clock = [ours["wall_s"] / (alone["sum_s"] / processes) for alone, ours in pairs]
    by_cpu = [ours["cpu_s"] / alone["cpu_s"] for alone, ours in pairs]
    return {
        "ratio": middle(by_clock),
        "ratios": " ".join(f"{ratio:.3f}" for ratio in by_clock),
        "cpu_ratio": middle(by_cpu),
        "cpu_ratios": " ".join(f"{ratio:.3f}" for ratio in by_cpu),
        "bare_cpu_s": middle([alone["cpu_s"] for alone, _ in pairs]),
        "extra_cpu_s": middle([ours["cpu_s"] - alone["cpu_s"] for alone, ours in pairs]),
        "sweep_s": middle([ours["wall_s"] for _, ours in pairs]),
        "bare_sum_s": middle([alone["sum_s"] for alone, _ in pairs]),
        "cluster_s": middle([ours["cluster_s"] for _, ours in pairs]),
        "first_trial_s": middle([ours["first_trial_s"] for _, ours in pairs]),
        "between_s": middle([gap for _, ours in pairs for gap in ours["between_s"]]),
        "bare_between_s": middle([gap for alone, _ in pairs for gap in alone["between_s"]]),
        "closing_s": middle([ours["closing_s"] for _, ours in pairs]),
    }


def main() -> None:
    side, text = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        answer = {"sweep": sweep, "bare": bare}[side](Request(**json.loads(text)), Path(folder))
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
