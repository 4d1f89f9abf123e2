"""Everything wrong with a data set, found by decoding every image and comparing the splits with each other."""

import difflib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path

import numpy as np

from vision.faults import KINDS, FaultError
from vision.formats import LABELS_ONLY, AnyData, survey
from vision.formats.digest import MISSING, file_hashes
from vision.formats.near_duplicates import near_duplicates, perceptual_hash
from vision.formats.suspicions import missing_classes, missing_numbers, unusual_sizes
from vision.images import read_image
from vision.record import Dataset, Fault, Record

__all__ = ["KINDS", "check"]

TYPO_SIMILARITY = 0.8
"""`difflib` ratio from which two class names look alike."""
TYPO_SHARE = 0.02
"""A class with fewer objects than this share of a similar one's may be a misspelling of it."""


def check(data: AnyData, splits: Sequence[str]) -> list[Fault]:
    """List all faults of the given splits; each fault once, even if splits share images.

    A split that cannot be read as a whole is one fault; the others are checked all the same.

    Args:
        data: the data set; `on_error` plays no part.
        splits: names, for example those of `known_splits`.

    Returns:
        faults sorted by seriousness, kind and path; empty for sound data.
    """
    faults: list[Fault] = []
    datasets: dict[str, Dataset] = {}
    for split in splits:
        try:
            datasets[split] = survey(data, split, find_duplicates=True)
        except FaultError as error:
            faults.append(error.fault())
        else:
            faults += datasets[split].faults
    undecodable, hashes = _decoded(datasets)
    faults += undecodable
    copies = list(_duplicate_images(datasets))
    faults += copies
    known = {fault.path for fault in copies}
    faults += (fault for fault in near_duplicates(_by_split(datasets, hashes)) if fault.path not in known)
    faults += missing_numbers(datasets)
    if data.format not in LABELS_ONLY:
        faults += unusual_sizes(datasets)
        faults += missing_classes(datasets)
    if data.classes is None:
        faults += _typos(datasets)
    unique = {(fault.kind, fault.path, fault.message, fault.box_index): fault for fault in faults}
    return sorted(unique.values(), key=lambda fault: (not fault.is_fatal, fault.kind, fault.path, fault.box_index or 0))


def _decoded(datasets: dict[str, Dataset]) -> tuple[list[Fault], dict[Path, np.ndarray]]:
    """Decode every image once, several at a time; returns what failed, and what the others look like."""
    records = {record.path.resolve(): record for dataset in datasets.values() for record in dataset.records}
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        outcomes = dict(zip(records, pool.map(_decode, records.values()), strict=True))
    hashes = {path: outcome for path, outcome in outcomes.items() if isinstance(outcome, np.ndarray)}
    return [outcome for outcome in outcomes.values() if isinstance(outcome, Fault)], hashes


def _decode(record: Record) -> Fault | np.ndarray | None:
    """Return what is wrong with an image file, or its hash; None for an image that cannot be compared."""
    try:
        image = read_image(record.path)
    except FaultError as error:
        return error.fault(record.name)
    height, width = image.shape[:2]
    if (height, width) != record.image_size:
        message = f"the image decodes to {width} x {height} pixels, its header says otherwise"
        return Fault("size_mismatch", record.path, message, record.name)
    return perceptual_hash(image)


def _real_paths(datasets: dict[str, Dataset]) -> dict[str, list[Path]]:
    """The image files of each split, links followed: two splits may name one file in two ways."""
    return {split: [record.path.resolve() for record in dataset.records] for split, dataset in datasets.items()}


def _by_split(datasets: dict[str, Dataset], hashes: dict[Path, np.ndarray]) -> dict[str, dict[Path, np.ndarray]]:
    paths = _real_paths(datasets)
    return {split: {path: hashes[path] for path in group if path in hashes} for split, group in paths.items()}


def _duplicate_images(datasets: dict[str, Dataset]) -> Iterator[Fault]:
    """Report images with the same bytes, within a split or across two.

    A split that lies wholly within another (`train` in `trainval`) shares its images on purpose.
    """
    paths = _real_paths(datasets)
    hashes = file_hashes(path for group in paths.values() for path in group)
    first_with: dict[str, dict[str, Path]] = {}
    for split, group in paths.items():
        seen = first_with.setdefault(split, {})
        for path in group:
            twin = seen.setdefault(hashes[path], path)
            if twin != path and hashes[path] != MISSING:
                yield Fault("duplicate_image", path, f"the same bytes as {twin}", path.stem, is_fatal=False)
    for one, other in combinations(paths, 2):
        if set(paths[one]) <= set(paths[other]) or set(paths[other]) <= set(paths[one]):
            continue
        for value in (first_with[one].keys() & first_with[other].keys()) - {MISSING}:
            path, twin = first_with[one][value], first_with[other][value]
            message = f"in split {one!r}, with the same bytes as {twin} in split {other!r}: leakage"
            yield Fault("duplicate_image", path, message, path.stem, is_fatal=False)


def _typos(datasets: dict[str, Dataset]) -> Iterator[Fault]:
    """Report rare classes whose names resemble a frequent one's."""
    counts: Counter[str] = Counter()
    first_of: dict[str, Record] = {}
    for dataset in datasets.values():
        for record in dataset.records:
            for label in record.labels:
                counts[dataset.classes[label]] += 1
                first_of.setdefault(dataset.classes[label], record)
    for rare, frequent in combinations(sorted(counts, key=lambda name: counts[name]), 2):
        if _is_like(rare, frequent) and counts[rare] < TYPO_SHARE * counts[frequent]:
            message = f"class {rare!r} ({counts[rare]} objects) looks like {frequent!r} ({counts[frequent]}) misspelt"
            record = first_of[rare]
            yield Fault("class_typo", record.path, message, record.name, is_fatal=False)


def _is_like(name: str, other: str) -> bool:
    return difflib.SequenceMatcher(None, name.casefold(), other.casefold()).ratio() >= TYPO_SIMILARITY
