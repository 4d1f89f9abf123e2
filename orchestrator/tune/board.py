"""The table of a sweep that a terminal shows while it runs: few lines, and columns that do not jump."""

from collections.abc import Iterable, Mapping

from orchestrator.text_table import aligned
from orchestrator.tune.goals import Goals
from orchestrator.tune.ledger import Trial
from orchestrator.tune.table import rows

MOST_ROWS = 16
ACTIVE = ("running", "waiting", "paused")
LEAST = {"status": len("running"), "s": len("999")}
METRIC_WIDTH = len("0.1234")


class Board:
    """Remembers how wide each column has been, and keeps it so wide."""

    def __init__(self) -> None:
        self._widths: dict[str, int] = {}

    def lines(self, trials: Mapping[int, Trial], goals: Goals, epochs: int) -> list[str]:
        """Return the head and at most `MOST_ROWS` trials: those that run, then the best, then those without result."""
        shown = chosen(trials.values(), goals, epochs)
        head, body = shown[0], shown[1:]
        for column, name in enumerate(head):
            widest = max(len(row[column]) for row in shown)
            least = METRIC_WIDTH if name in goals.names else LEAST.get(name, 0)
            self._widths[name] = max(widest, self._widths.get(name, least))
        left_out = len(trials) - len(body)
        last = [f"and {left_out} more: `orchestrator tune show`"] if left_out else []
        return [*aligned([name.ljust(self._widths[name]) for name in head], body).splitlines(), *last]


def chosen(trials: Iterable[Trial], goals: Goals, epochs: int) -> list[list[str]]:
    """Return the head of the table and the rows that are worth a line, those of active trials first."""
    head, body = rows(trials, goals, epochs)
    status = head.index("status")
    active = [row for row in body if row[status] in ACTIVE]
    return [head, *[*active, *(row for row in body if row[status] not in ACTIVE)][:MOST_ROWS]]
