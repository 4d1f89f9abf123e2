"""What another terminal asks of a running sweep: small files in a folder, taken in the order in which they came."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.tune.values import Values

REQUESTS = "requests"


@dataclass(frozen=True)
class Request:
    """`add` a trial; `pause`, `stop` or `continue` one; `stop` without a trial ends the sweep."""

    action: str
    trial: int | None = None
    values: Values = field(default_factory=dict)
    """Of the searched keys: of a new trial, or those that a continued one changes."""
    overrides: dict[str, Any] = field(default_factory=dict)
    """Other keys of the base that a continued trial changes, such as `resources.num_workers`."""


def send(folder: Path, request: Request) -> None:
    """Leave a request for the sweep in `folder`."""
    place = folder / REQUESTS
    place.mkdir(parents=True, exist_ok=True)
    name = f"{time.time_ns():020d}-{os.getpid()}.json"
    temporary = place / f".{name}"
    temporary.write_text(json.dumps(asdict(request)))
    temporary.replace(place / name)


def take(folder: Path) -> Iterator[Request]:
    """Yield and remove the requests that wait, the oldest first."""
    place = folder / REQUESTS
    for path in sorted(place.glob("[0-9]*.json")) if place.is_dir() else ():
        content = json.loads(path.read_text())
        path.unlink()
        yield Request(**content)
