"""The searches that `benchmarks.tune --search` compares, on handwritten digits: what they found, by epochs spent."""

import statistics
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from engine.journal import read_lines
from orchestrator.tune.ledger import LEDGER_FILE

METRIC = "nll"
"""Of the validation split; smaller is better. Finer than the share of right answers, which hardly differs here."""
EPOCHS = 27
"""Of a whole trial: rungs after 1, 3 and 9."""
RANDOM_TRIALS = 16
LEARNED_TRIALS = 40
"""Enough to spend more than half of the epochs of the random search: most end early."""
SPACE = {
    "loop.optimizer.lr": {"loguniform": [1e-4, 1.0]},
    "loop.optimizer.momentum": {"uniform": [0.0, 0.99]},
    "loop.optimizer.weight_decay": {"loguniform": [1e-6, 1e-1]},
    "loop.batch_size": {"choice": [32, 64, 128, 256]},
}
NEVER = float("inf")
SEARCHES: dict[str, dict[str, Any]] = {
    "random": {"search": {"name": "random"}, "num_samples": RANDOM_TRIALS},
    "asha_bayes": {
        "search": {"name": "bayes", "startup": 8},
        "scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 3.0},
        "num_samples": LEARNED_TRIALS,
    },
}
NAMES = {"random": f"random, {RANDOM_TRIALS} whole trials", "asha_bayes": "Bayes (TPE) with ASHA"}
Curve = list[tuple[int, float]]
"""(epochs spent by all trials, the best value until then), whenever it became better, and at the end."""


def search(seeds: Sequence[int], folder: Path) -> dict[int, dict[str, Curve]]:
    """Run both searches for every seed, as `orchestrator run` would, on one cluster; what is done in `folder` stays."""
    from orchestrator.cluster import Cluster
    from orchestrator.conductor import RunOptions, run_pipeline
    from orchestrator.pipeline.load import load_pipeline
    from orchestrator.terminal import Display

    folder.mkdir(parents=True, exist_ok=True)
    cluster = Cluster(folder / "ray.log")
    cluster.connect(60)
    curves = {}
    for seed in seeds:
        path = folder / f"seed{seed}.yaml"
        path.write_text(yaml.safe_dump(_pipeline(seed, folder)))
        with Display(plain=True, stream=sys.stderr) as display:
            run_pipeline(load_pipeline(path), RunOptions(), display)
        curves[seed] = {name: curve(_events(folder / "runs" / f"seed{seed}" / name)) for name in SEARCHES}
    cluster.close(keep_logs=False)
    return curves


def _pipeline(seed: int, folder: Path) -> dict[str, Any]:
    base = {
        "kind": "train",
        "task": "classification",
        "data": "digits",
        "model": {"name": "lenet5"},
        "image_size": [32, 32],
        "augment": {"preset": "none"},
        "loop": {"epochs": EPOCHS, "optimizer": {"name": "sgd", "lr": 0.01}},
        "resources": {"num_workers": 1, "use_gpu": False},
    }
    common = {"kind": "tune", "base": base, "metric": METRIC, "space": SPACE}
    return {
        "name": f"seed{seed}",
        "seed": seed,
        "data": {"digits": {"format": "digits"}},
        "stages": {name: {**common, **settings} for name, settings in SEARCHES.items()},
        "storage": str(folder.resolve() / "runs"),
    }


def _events(stage: Path) -> Iterable[dict[str, Any]]:
    (ledger,) = stage.glob(f"*/{LEDGER_FILE}")
    return read_lines(ledger)


def curve(events: Iterable[Mapping[str, Any]]) -> Curve:
    """The best value by epochs spent. A trial that was pruned within an epoch has spent it."""
    points: Curve = []
    spent, best = 0, float("inf")
    for event in events:
        if event["event"] == "result":
            spent += 1
            if event["values"][0] < best:
                best = event["values"][0]
                points.append((spent, best))
        elif event["event"] == "ended" and event["status"] == "pruned":
            spent += 1
    return [*points, (spent, best)]


def best_within(points: Curve, epochs: int) -> float:
    """The best value that was found by then; infinite before the first."""
    return min((value for spent, value in points if spent <= epochs), default=float("inf"))


def epochs_until(points: Curve, target: float) -> int | None:
    """Epochs spent when a value as good as `target` was found; None = never."""
    return next((spent for spent, value in points if value <= target), None)


def compare(curves: Mapping[int, Mapping[str, Curve]]) -> list[dict[str, Any]]:
    """One row per seed, and the medians: after how many epochs the other equalled what the random one found in all."""
    rows: list[dict[str, Any]] = []
    for seed, both in curves.items():
        spent, target = both["random"][-1]
        reached = epochs_until(both["asha_bayes"], target)
        rows.append(
            {
                "seed": seed,
                "random_epochs": spent,
                "random_best": round(target, 4),
                "random_found_at": epochs_until(both["random"], target),
                "asha_bayes_reached_at": reached,
                "share": None if reached is None else round(reached / spent, 3),
                "asha_bayes_at_half": round(best_within(both["asha_bayes"], spent // 2), 4),
                "asha_bayes_best": round(best_within(both["asha_bayes"], spent), 4),
            }
        )
    shares = sorted(NEVER if row["share"] is None else row["share"] for row in rows)
    share = statistics.median(shares)
    middle: dict[str, Any] = {"seed": "median", "share": None if share == NEVER else round(share, 3)}
    for key in ("random_best", "asha_bayes_at_half", "asha_bayes_best"):
        middle[key] = statistics.median([row[key] for row in rows])
    return [*rows, {**dict.fromkeys(rows[0], ""), **middle}]


def draw(curves: Mapping[int, Mapping[str, Curve]], path: Path) -> None:
    """Draw the best value by epochs spent: every seed thin, the median of both searches thick."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    most = max(both["random"][-1][0] for both in curves.values())
    axis_x = range(1, most + 1)
    figure, axes = plt.subplots(figsize=(7.2, 4.2), layout="constrained")
    for name, colour in (("random", "#8a8a8a"), ("asha_bayes", "#1f6fb4")):
        found = [[best_within(both[name], epochs) for epochs in axis_x] for both in curves.values()]
        for values in found:
            axes.step(axis_x, values, where="post", color=colour, alpha=0.35, linewidth=0.9)
        middle = [statistics.median(column) for column in zip(*found, strict=True)]
        axes.step(axis_x, middle, where="post", color=colour, linewidth=2.4, label=NAMES[name])
        if name == "random":
            axes.axhline(middle[-1], color=colour, linestyle=":", linewidth=1.2)
    axes.axvline(most / 2, color="#c0504d", linestyle="--", linewidth=1.2, label="half of the random search's epochs")
    axes.set(xlabel="epochs spent by all trials", ylabel="best validation NLL", yscale="log", xlim=(1, most))
    axes.set_title(f"Searching four keys of LeNet-5 on digits: median of {len(curves)} seeds")
    axes.legend(frameon=False)
    axes.grid(alpha=0.25, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def run_searches(seeds: Sequence[int], storage: Path | None, picture: Path | None) -> list[dict[str, Any]]:
    """Search with every seed, draw, and return the table."""
    with tempfile.TemporaryDirectory() as temporary:
        curves = search(seeds, storage or Path(temporary))
    if picture is not None:
        draw(curves, picture)
    return compare(curves)
