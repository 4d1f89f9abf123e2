"""The charts of an evaluation as matplotlib figures; no global state, no files. The image sheet is in `report.py`."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from detection.confusion import ThresholdCurves
from detection.metrics import AREA_RANGES, IOU_50, SIZES, CocoMetric, CocoResult
from detection.size_recall import SizeRecall
from vision.charts import FAINT, GRID, INK, MUTED, PALETTE, colour_bar, shorten, tidy, unit_square, write_counts
from vision.record import Dataset

NAMED_CURVES = len(PALETTE)
"""More classes than this are drawn as thin grey lines, and only the outer ones are named."""
TABLE_ROWS = 30
"""At most so many classes in a table or matrix: those with the most objects."""
FEWEST_OBJECTS = 3
"""A class's recall is not drawn where it has fewer objects of a size."""
SURE = 1.96
"""Standard deviations on either side of a recall that hold it in 95 of 100 cases."""
SIZE_NAMES = {
    "all": "all sizes",
    "small": "small\n< 32² px",
    "medium": "medium\n32²–96² px",
    "large": "large\n> 96² px",
}


def draw_pr_curves(metric: CocoMetric, thresholds: ThresholdCurves) -> Figure:
    """Draw precision over recall per class and their mean, and beside it what each score threshold gives."""
    figure = Figure(figsize=(13, 5.6), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    _draw_precision_over_recall(left, metric)
    _draw_thresholds(right, thresholds)
    return figure


def draw_ap_by_size(dataset: Dataset, result: CocoResult) -> Figure:
    """Draw AP per class and object size as a shaded table, with the number of objects behind each value."""
    labels = most_frequent(dataset, TABLE_ROWS)
    average = [[result.average_precision(size=size) for size in SIZES]]
    values = np.array(average + [[result.average_precision(label, size) for size in SIZES] for label in labels])
    counts = count_by_size(dataset)
    support = np.concatenate([counts.sum(axis=0, keepdims=True), counts[labels]])
    names = ["mean of classes", *(dataset.classes[label] for label in labels)]
    figure = Figure(figsize=(8.4, 1.9 + 0.62 * len(names)), layout="constrained", facecolor="white")
    axes = figure.subplots()
    shading = axes.imshow(np.ma.masked_less(values, 0), cmap="RdYlBu", vmin=0, vmax=1, aspect="auto", alpha=0.6)
    tidy(axes, "Average precision by object size" + _left_out(dataset, labels), "", "")
    axes.set_xticks(range(len(SIZES)), [SIZE_NAMES[size] for size in SIZES])
    axes.set_yticks(range(len(names)), [shorten(name) for name in names])
    axes.axhline(0.5, color="white", linewidth=5)
    for (row, column), value in np.ndenumerate(values):
        text = f"{value:.3f}" if value >= 0 else "–"
        axes.text(column, row - 0.1, text, ha="center", va="center", color=INK, fontsize=12, fontweight="bold")
        objects = f"{support[row, column]:,} object" + ("" if support[row, column] == 1 else "s")
        axes.text(column, row + 0.26, objects, ha="center", va="center", color=INK, fontsize=8)
    colour_bar(figure, axes, shading, "AP, mean over IoU 0.50–0.95", aspect=8 + 3 * len(names))
    return figure


def draw_recall_by_size(dataset: Dataset, recall: SizeRecall, score_threshold: float) -> Figure:
    """Draw the recall of all classes and of each over the objects' size in pixels, and below it how many there are."""
    figure = Figure(figsize=(9.5, 6.6), layout="constrained", facecolor="white")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    objects, centres = recall.objects.sum(axis=0), recall.centres_px
    tidy(above, "Recall by object size at IoU 0.5", "", "recall")
    tidy(below, "", "square root of the object's area, pixels of the image", "objects")
    _draw_recalls(above, dataset, recall, score_threshold)
    below.bar(centres, objects, width=0.9 * np.diff(recall.edges_px), color=PALETTE[0], alpha=0.6)
    for centre, count in zip(centres, objects, strict=True):
        below.text(centre, count, f"{count:,}" if count else "", ha="center", va="bottom", color=MUTED, fontsize=8)
    below.margins(y=0.2)
    below.set_xscale("log", base=2)
    below.set_xlim(recall.edges_px[0], recall.edges_px[-1])
    below.set_xticks(recall.edges_px, [f"{edge:.0f}" for edge in recall.edges_px], minor=False)
    below.minorticks_off()
    for axes in (above, below):
        for side in (np.sqrt(AREA_RANGES["small"][1]), np.sqrt(AREA_RANGES["medium"][1])):
            if recall.edges_px[0] < side < recall.edges_px[-1]:
                axes.axvline(side, color=MUTED, linestyle="--", linewidth=1, zorder=1)
    return figure


def _draw_recalls(axes: Axes, dataset: Dataset, recall: SizeRecall, score_threshold: float) -> None:
    axes.set_ylim(0, 1.03)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    objects, found = recall.objects.sum(axis=0), recall.found.sum(axis=0)
    some, centres = objects > 0, recall.centres_px
    if not some.any():
        axes.text(0.5, 0.5, "no ground truth in this split", ha="center", color=MUTED, transform=axes.transAxes)
        return
    labels = [label for label in most_frequent(dataset, NAMED_CURVES) if recall.objects[label].any()]
    for label, colour in zip(labels if len(labels) > 1 else [], PALETTE, strict=False):
        enough = recall.objects[label] >= FEWEST_OBJECTS
        share = recall.found[label, enough] / recall.objects[label, enough]
        name = f"{shorten(dataset.classes[label])}  ({recall.objects[label].sum():,} objects)"
        axes.plot(centres[enough], share, ".-", color=colour, linewidth=1.4, alpha=0.8, label=name)
    low, high = _wilson(found[some], objects[some])
    axes.fill_between(centres[some], low, high, color=INK, alpha=0.1, linewidth=0)
    name = f"all classes  {found.sum() / objects.sum():.3f}  (shaded: 95 % confidence)"
    axes.plot(centres[some], found[some] / objects[some], "o-", color=INK, linewidth=3, label=name)
    sure = recall.found_above.sum(axis=0)
    name = f"all classes at score ≥ {score_threshold:.2f} (best F1)  {sure.sum() / objects.sum():.3f}"
    axes.plot(centres[some], sure[some] / objects[some], "o--", color=INK, linewidth=1.6, label=name)
    axes.legend(loc="lower right", frameon=True, framealpha=0.9, edgecolor=GRID, fontsize=8)


def _wilson(found: np.ndarray, objects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of the share that `found` of `objects` stands for (Wilson 1927), which hold with few objects too."""
    share, square = found / objects, SURE**2
    middle = (share + square / (2 * objects)) / (1 + square / objects)
    reach = SURE * np.sqrt(share * (1 - share) / objects + square / (4 * objects**2)) / (1 + square / objects)
    return middle - reach, middle + reach


def draw_confusion(matrix: np.ndarray, dataset: Dataset, score_threshold: float) -> Figure:
    """Draw a confusion matrix, shaded by the share of each true class; `matrix` as `confusion_matrix` gives it."""
    labels = most_frequent(dataset, TABLE_ROWS)
    chosen = [*labels, len(dataset.classes)]
    counts = matrix[np.ix_(chosen, chosen)]
    share = counts / np.maximum(matrix[chosen].sum(axis=1, keepdims=True), 1)
    share[-1] = 0.0  # False alarms have no true class to be a share of.
    names = [shorten(dataset.classes[label]) for label in labels]
    side = max(5.6, 2.6 + 0.62 * len(chosen))
    figure = Figure(figsize=(side + 1.2, side), layout="constrained", facecolor="white")
    axes = figure.subplots()
    shading = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    title = f"Confusion at IoU ≥ 0.5, score ≥ {score_threshold:.2f} (best F1)" + _left_out(dataset, labels)
    tidy(axes, title, "detected as", "ground truth")
    axes.set_xticks(range(len(chosen)), [*names, "background\n(missed)"], rotation=35, ha="right")
    axes.set_yticks(range(len(chosen)), [*names, "background\n(false alarm)"])
    axes.axhline(len(labels) - 0.5, color=MUTED, linewidth=1)
    axes.axvline(len(labels) - 0.5, color=MUTED, linewidth=1)
    write_counts(axes, counts, share)
    colour_bar(figure, axes, shading, "share of the true class", aspect=14 + len(chosen))
    return figure


def count_by_size(dataset: Dataset) -> np.ndarray:
    """Count objects per class and COCO size, (K, 4) int64 in the order of `SIZES`; crowds are left out."""
    counts = np.zeros((len(dataset.classes), len(SIZES)), np.int64)
    for record in dataset.records:
        for column, size in enumerate(SIZES):
            low, high = AREA_RANGES[size]
            counted = ~record.iscrowd & (record.area >= low) & (record.area <= high)
            np.add.at(counts[:, column], record.labels[counted], 1)
    return counts


def most_frequent(dataset: Dataset, limit: int) -> list[int]:
    """Return the labels with the most objects, at most `limit`, in label order."""
    totals = count_by_size(dataset)[:, 0]
    return sorted(np.argsort(-totals, kind="stable")[:limit].tolist())


def _draw_precision_over_recall(axes: Axes, metric: CocoMetric) -> None:
    curves, result = metric.precision_recall(), metric.result()
    tidy(axes, "Precision over recall at IoU 0.5", "recall", "precision")
    unit_square(axes)
    if not curves.labels:
        axes.text(0.5, 0.5, "no ground truth in this split", ha="center", color=MUTED)
        return
    average = [result.average_precision(label, iou=IOU_50) for label in curves.labels]
    has_few = len(curves.labels) <= NAMED_CURVES
    named = set(range(len(average))) if has_few else set(np.argsort(average)[[0, 1, 2, -3, -2, -1]].tolist())
    palette = iter(PALETTE)
    for index in range(len(average)) if has_few else np.argsort(average)[::-1]:
        style: dict[str, Any] = {"color": FAINT, "linewidth": 0.8, "zorder": 1}
        if index in named:
            name = shorten(metric.dataset.classes[curves.labels[index]])
            style = {"color": next(palette), "linewidth": 1.8, "label": f"{name}  AP50 {average[index]:.3f}"}
        axes.plot(curves.recall, curves.precision[index], **style)
    mean_name = f"mean of {len(average)} classes  mAP50 {np.mean(average):.3f}"
    axes.plot(curves.recall, curves.precision.mean(axis=0), color=INK, linewidth=3, label=mean_name, zorder=3)
    axes.legend(loc="lower left", frameon=True, framealpha=0.9, edgecolor=GRID, fontsize=9)


def _draw_thresholds(axes: Axes, curves: ThresholdCurves) -> None:
    tidy(axes, "What a score threshold gives, all classes, IoU 0.5", "score threshold", "")
    unit_square(axes)
    axes.plot(curves.thresholds, curves.precision, color=PALETTE[0], linewidth=1.8, label="precision")
    axes.plot(curves.thresholds, curves.recall, color=PALETTE[1], linewidth=1.8, label="recall")
    axes.plot(curves.thresholds, curves.f1, color=INK, linewidth=3, label="F1")
    axes.axvline(curves.best, color=MUTED, linestyle="--", linewidth=1, zorder=1)
    best_name = f"best threshold {curves.best:.2f}: F1 {curves.f1.max():.3f}"
    axes.plot([curves.best], [curves.f1.max()], "o", color=INK, markersize=8, label=best_name)
    axes.legend(loc="lower center", frameon=True, framealpha=0.9, edgecolor=GRID, fontsize=9)


def _left_out(dataset: Dataset, labels: list[int]) -> str:
    hidden = len(dataset.classes) - len(labels)
    return f"\n(the {len(labels)} most frequent classes; {hidden} more are not shown)" if hidden else ""
