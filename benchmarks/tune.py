"""What a sweep costs beside its trainings alone; and what ASHA with Bayes saves against random search.

python -m benchmarks.tune [--json] [--trials 8] [--epochs 24] [--repeats 3]
python -m benchmarks.tune --search [--json] [--seeds 0 1 2 3 4] [--picture docs/pictures/tune.png]

Without `--search`: the same trainings of one thread each as the trials of a sweep, as many at once as there are cores,
and back to back in as many processes that wait with imports done and images in memory; the sides alternate.
`ratio` = the sweep's wall time, the start of the cluster apart, to the sum of the bare trainings' over the cores.
`cpu_ratio` compares CPU seconds of all processes, which says something on a busy machine too.
"""

import argparse
from pathlib import Path

from benchmarks.report import show
from benchmarks.tune_price import Request, ratios, run_side
from benchmarks.tune_search import run_searches
from engine.threads import usable_cpus

GOAL = 1.15


def price(request: Request, repeats: int) -> list[dict[str, object]]:
    """Alternate the two sides."""
    pairs = []
    for _ in range(repeats):
        alone = run_side("bare", request)
        pairs.append((alone, run_side("sweep", request)))
    return [{"trials": request.trials, "epochs": request.epochs, "goal": GOAL, **ratios(pairs, request.processes)}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=24, help="of each trial")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--search", action="store_true", help="compare the searches instead")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--storage", type=Path, help="where the searches are kept; what is done there is not repeated")
    parser.add_argument("--picture", type=Path, help="where to draw the searches")
    arguments = parser.parse_args()
    if arguments.search:
        show(run_searches(arguments.seeds, arguments.storage, arguments.picture), arguments.json)
    else:
        request = Request(arguments.trials, arguments.epochs, usable_cpus())
        show(price(request, arguments.repeats), arguments.json)


if __name__ == "__main__":
    main()
