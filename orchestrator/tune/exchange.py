"""How a trial of a population takes over another one's weights: by checkpoints of ours, which Ray Tune only points to.

With every report a trial offers its newest checkpoint under a hard link, so that it stays when the trial goes on, and
hands Ray Tune a note that says where it lies.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from engine.checkpoint import CheckpointStore
from engine.job import TrainJob

NOTE_FILE = "offer.json"
OFFERS = "offers"
KEPT = 6
"""Offers that a trial keeps: the others must have taken what they want within so many evaluations."""


def offer(folder: Path, number: int, epoch: int, note: Path) -> None:
    """Offer a trial's newest checkpoint, of the end of a 1-based epoch; the note on it goes into the folder `note`."""
    newest = CheckpointStore(folder / "checkpoints", 1).paths()[-1]
    place = folder / OFFERS / newest.name
    if not place.exists():
        place.mkdir(parents=True)
        for file in newest.iterdir():
            os.link(file, place / file.name)
    for old in sorted((folder / OFFERS).iterdir())[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    (note / NOTE_FILE).write_text(json.dumps({"trial": number, "epoch": epoch, "checkpoint": str(place)}))


def adopt(job: TrainJob, number: int, checkpoint: Any) -> int | None:
    """Put another trial's checkpoint in the place of the own ones, if Ray Tune says so, and return its 1-based epoch.

    Args:
        checkpoint: `tune.get_checkpoint()`; the own one, or None, changes nothing and gives None.
    """
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as folder:
        note = json.loads((Path(folder) / NOTE_FILE).read_text())
    if note["trial"] == number:
        return None
    taken = Path(note["checkpoint"])
    own = job.folder / "checkpoints"
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir(parents=True)
    shutil.copytree(taken, own / taken.name)
    return int(note["epoch"])
