"""What `stats` counts as pictures: classes, sizes of objects and images, shapes, objects per image."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from foundation.errors import DataError
from vision.charts import GRID, MUTED, PALETTE, shorten, tidy
from vision.formats import LABELS_ONLY, AnyData, survey
from vision.formats.stats import MEDIUM_AREA, SMALL_AREA
from vision.record import Dataset

NUM_CLASSES_SHOWN = 30
NUM_BINS = 40
_SIZE_INCHES = (8.0, 4.5)
_DPI = 110
_LEGEND_DOT = 60.0
"""Square points: as large as in the picture, the dots would cover each other."""

Datasets = Mapping[str, Dataset]


def save_pictures(data: AnyData, splits: Sequence[str], folder: Path, title: str) -> list[Path]:
    """Draw what the given splits hold, one PNG per subject.

    Args:
        data: the data set; faulty images and boxes are left out.
        splits: names.
        folder: made if need be.
        title: begins each file's name.

    Returns:
        the files; of a format with labels only, classes and image sizes.

    Raises:
        DataError: if a split cannot be read at all, or the folder cannot be written.
    """
    datasets = {split: survey(data, split) for split in splits}
    drawn = {"classes": _classes, "image-sizes": _image_sizes}
    if data.format not in LABELS_ONLY:
        drawn |= {"object-sizes": _object_sizes, "aspect-ratios": _aspect_ratios, "objects-per-image": _per_image}
    return [_save(folder / f"{title}-{name}.png", datasets, draw) for name, draw in drawn.items()]


def _save(path: Path, datasets: Datasets, draw: Callable[[Axes, Datasets], None]) -> Path:
    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    draw(axes, datasets)
    if axes.get_legend_handles_labels()[0]:
        for handle in axes.legend(frameon=False, labelcolor=MUTED).legend_handles:
            if isinstance(handle, PathCollection):
                handle.set_sizes([_LEGEND_DOT])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=_DPI)
    except OSError as error:
        raise DataError(
            f"cannot write the picture {path}: {error.strerror or error}; expected a folder that can be written. "
            "Choose another place for --pictures, or mend its rights."
        ) from error
    return path


def _classes(axes: Axes, datasets: Datasets) -> None:
    """Bars per class and split, the most frequent first; on a logarithmic axis where they differ a hundredfold."""
    classes = next(iter(datasets.values())).classes
    counts = {split: np.bincount(_labels(dataset), minlength=len(classes)) for split, dataset in datasets.items()}
    total = np.sum(list(counts.values()), axis=0)
    shown = np.argsort(-total, kind="stable")[:NUM_CLASSES_SHOWN]
    places, height = np.arange(len(shown)), 0.8 / len(counts)
    for index, (split, count) in enumerate(counts.items()):
        axes.barh(
            places + (index - (len(counts) - 1) / 2) * height, count[shown], height, label=split, color=_colour(index)
        )
    axes.set_yticks(places, [shorten(classes[label]) for label in shown])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    if len(shown) and total[shown].max() > 100 * max(total[shown].min(), 1):
        axes.set_xscale("log")
    more = f", the {NUM_CLASSES_SHOWN} most frequent of {len(classes)}" if len(classes) > len(shown) else ""
    tidy(axes, f"Classes{more}", "objects", "")


def _image_sizes(axes: Axes, datasets: Datasets) -> None:
    """A dot per size; its area tells how many images have it."""
    for index, (split, dataset) in enumerate(datasets.items()):
        sizes = np.array([record.image_size for record in dataset.records]).reshape(-1, 2)
        unique, counts = np.unique(sizes, axis=0, return_counts=True)
        areas = 20 + 400 * counts / max(counts.max(initial=1), 1)
        axes.scatter(unique[:, 1], unique[:, 0], areas, alpha=0.5, label=split, color=_colour(index), linewidths=0)
    axes.margins(0.15)
    tidy(axes, "Image sizes", "width (px)", "height (px)")


def _object_sizes(axes: Axes, datasets: Datasets) -> None:
    """Square root of the box's area, with COCO's limits of small and large."""
    sizes = {split: np.sqrt(np.prod(_sides(dataset), axis=1)) for split, dataset in datasets.items()}
    _histogram(axes, sizes, is_logarithmic=True)
    for area, name in ((SMALL_AREA, "small"), (MEDIUM_AREA, "medium")):
        axes.axvline(area**0.5, color=MUTED, linewidth=1, linestyle="--")
        axes.annotate(
            f"{name} ", (area**0.5, 0.97), xycoords=("data", "axes fraction"), ha="right", va="top", color=MUTED
        )
    tidy(axes, "Object sizes", "square root of the box's area (px)", "share of objects")


def _aspect_ratios(axes: Axes, datasets: Datasets) -> None:
    ratios = {split: (sides := _sides(dataset))[:, 0] / sides[:, 1] for split, dataset in datasets.items()}
    _histogram(axes, ratios, is_logarithmic=True)
    tidy(axes, "Shapes of objects", "width / height", "share of objects")


def _per_image(axes: Axes, datasets: Datasets) -> None:
    counts = {
        split: np.array([len(record.labels) for record in dataset.records]) for split, dataset in datasets.items()
    }
    _histogram(axes, counts, is_logarithmic=False)
    tidy(axes, "Objects per image", "objects", "share of images")


def _histogram(axes: Axes, values: Mapping[str, np.ndarray], is_logarithmic: bool) -> None:
    """Outlines of one histogram per split, each as shares of its own values; nothing where there are none."""
    joined = np.concatenate([*values.values(), np.zeros(0)])
    if not len(joined):
        return
    low, high = float(joined.min()), float(joined.max())
    if is_logarithmic:
        edges = np.geomspace(low / 1.02, high * 1.02, NUM_BINS + 1)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        edges = np.arange(low, high + 2) - 0.5 if high - low < NUM_BINS else np.linspace(low, high, NUM_BINS + 1)
    for index, (split, own) in enumerate(values.items()):
        if len(own):
            shares = np.histogram(own, edges)[0] / len(own)
            axes.stairs(shares, edges, label=split, color=_colour(index), linewidth=1.6)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))


def _labels(dataset: Dataset) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int64), *(record.labels for record in dataset.records)])


def _sides(dataset: Dataset) -> np.ndarray:
    """(N, 2) width and height of all boxes."""
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *(record.boxes for record in dataset.records)])
    return boxes[:, 2:] - boxes[:, :2]


def _colour(index: int) -> str:
    return PALETTE[index % len(PALETTE)]
