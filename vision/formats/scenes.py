"""The embedded data behind the same two functions as the formats read from files."""

from pathlib import Path

from vision.formats.raw import require_split
from vision.record import Dataset
from vision.scenes import read_scenes
from vision.settings import ScenesData

SPLITS = ("train", "val", "test")


def splits(data: ScenesData) -> tuple[str, ...]:  # noqa: ARG001 - every format's function takes its settings
    """List the splits."""
    return SPLITS


def read(data: ScenesData, split: str) -> Dataset:
    """Read one split, generating it on first use."""
    require_split(split, SPLITS, data.root or Path("scenes"))
    return read_scenes(data, split)
