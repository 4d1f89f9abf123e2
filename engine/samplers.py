"""How often an epoch shows each sample, for classes that are not equally frequent and for objects that are small.
The order is `engine.sampling`'s.

A sampler gives every sample the number of times that it is to be shown on average. An epoch rounds these numbers up or
down at random so that their sum, and with one label per sample also the sum within each class, is met to within one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.settings import RandomSamplerSettings, RepeatFactorSettings, SamplerSettings, SmallObjectsSettings
from engine.task import BoxedDataset, TaskDataset
from foundation.errors import ConfigError

MAX_NAMED = 8
"""A message names so many classes and counts the rest."""
ROUNDING = 1e-6
"""What sums of whole numbers in floating point may be off by."""


@dataclass(frozen=True, eq=False)
class Repeats:
    """How often each of N samples is shown in an epoch, on average."""

    expected: np.ndarray
    """(N,) float64, >= 0."""
    strata: np.ndarray
    """(N,) int64: the group of each sample, whose sum is met to within one: its rarest class, as its place in the order
    of rarity, K where it has none; of `small_objects` 1 for samples with small objects, 0 for others."""

    @property
    def total(self) -> int:
        """Samples in an epoch, each occurrence counted; the same in every epoch."""
        return max(1, math.ceil(float(self.expected.sum()) - ROUNDING))

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """How often each sample is shown this time, (N,) int64: `expected` rounded up or down, `total` in sum.

        Systematic sampling: the samples lie one after another on a line, class by class and within a class in random
        order, each as long as its expected number; those on which a comb of teeth one apart comes to lie are shown.
        """
        order = np.lexsort((rng.random(len(self.expected)), self.strata))
        ends = np.cumsum(self.expected[order])
        ends[-1] = self.total
        teeth = np.minimum(np.floor(ends + rng.random()), self.total).astype(np.int64)
        counts = np.empty_like(teeth)
        counts[order] = np.diff(teeth, prepend=0)
        return counts


def build_repeats(settings: SamplerSettings, dataset: TaskDataset, classes: Sequence[str]) -> Repeats | None:
    """Work a sampler out over the labels of a split; None where every sample is shown once.

    A sample of several classes counts for each of them. Samples without a label (images without objects) are shown
    once an epoch; `undersample` takes them for one more class.

    Raises:
        ConfigError: if a class is in no sample: this sampler would be to show it, and cannot; or if it goes by small
            objects, and the samples have none or no sizes.
    """
    if isinstance(settings, RandomSamplerSettings):
        return None
    if isinstance(settings, SmallObjectsSettings):
        return _small_object_repeats(settings, dataset)
    labels = dataset.sample_labels()
    sizes = np.array([len(present) for present in labels], np.int64)
    flat = np.concatenate([*labels, np.zeros(0, np.int64)]).astype(np.int64)
    counts = np.bincount(flat, minlength=len(classes))
    _refuse_absent(settings.name, counts, classes)
    owners = np.repeat(np.arange(len(labels)), sizes)
    expected = np.zeros(len(labels))
    match settings.name:
        case "class_balanced" | "square_root":
            wanted = np.ones(len(counts)) if settings.name == "class_balanced" else np.sqrt(counts)
            np.add.at(expected, owners, ((sizes > 0).sum() * wanted / wanted.sum() / counts)[flat])
        case "oversample":
            np.maximum.at(expected, owners, (counts.max() / counts)[flat])
        case "undersample":
            np.maximum.at(expected, owners, (counts.min() / counts)[flat])
        case "repeat_factor":
            np.maximum.at(expected, owners, _repeat_factors(settings, counts / len(labels))[flat])
    num_empty = int((sizes == 0).sum())
    if num_empty:
        expected[sizes == 0] = min(1.0, counts.min() / num_empty) if settings.name == "undersample" else 1.0
    return Repeats(expected, _rarest(flat, owners, counts, len(labels)))


def sampler_notes(settings: SamplerSettings, repeats: Repeats | None) -> list[str]:
    """Say what an epoch is under a sampler that does not show every sample once."""
    if repeats is None:
        return []
    most = math.ceil(float(repeats.expected.max()) - ROUNDING)
    text = f"an epoch shows {repeats.total:,} images out of {len(repeats.expected):,}, one of them up to"
    return [f"sampler {settings.name}: {text} {most} times"]


def _small_object_repeats(settings: SmallObjectsSettings, dataset: TaskDataset) -> Repeats:
    if not isinstance(dataset, BoxedDataset):
        raise ConfigError(
            "sampler: small_objects goes by the size of objects, and this task labels whole images; take another "
            "sampler, for example `sampler: {name: class_balanced}`."
        )
    has_small = dataset.has_small_objects(settings.max_area)
    if has_small.all() or not has_small.any():
        which = "every" if len(has_small) and has_small.all() else "no"
        raise ConfigError(
            f"sampler: small_objects would show all training images equally often: {which} image has an object of at "
            f"most `max_area` {settings.max_area:g} square pixels as the model sees it. Change `sampler.max_area`, or "
            "use `sampler: {name: random}`."
        )
    return Repeats(np.where(has_small, settings.factor, 1.0), has_small.astype(np.int64))


def _repeat_factors(settings: SamplerSettings, shares: np.ndarray) -> np.ndarray:
    assert isinstance(settings, RepeatFactorSettings)
    return np.maximum(1.0, np.sqrt(settings.threshold / shares))


def _rarest(flat: np.ndarray, owners: np.ndarray, counts: np.ndarray, num_samples: int) -> np.ndarray:
    """The rarest class of each sample, as its place in the order of rarity; K where it has none."""
    rank_of_class = np.argsort(np.argsort(counts, kind="stable"), kind="stable")
    best = np.full(num_samples, len(counts), np.int64)
    np.minimum.at(best, owners, rank_of_class[flat])
    return best


def _refuse_absent(name: str, counts: np.ndarray, classes: Sequence[str]) -> None:
    absent = [name for name, count in zip(classes, counts, strict=True) if count == 0]
    if not absent:
        return
    rest = len(absent) - MAX_NAMED
    named = ", ".join(absent[:MAX_NAMED]) + (f" and {rest} more" if rest > 0 else "")
    raise ConfigError(
        f"sampler: {name} would never show {named}: no training image has the class. Give images of it, leave it out "
        "of the data set's `classes`, or use `sampler: {name: random}`."
    )
