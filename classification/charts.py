"""The charts of an evaluation as matplotlib figures; no global state, no files. The image sheet is in `report.py`."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from classification.calibration import BINS, Reliability
from classification.metrics import GROUPS, precision_recall_f1
from vision.charts import FAINT, GRID, INK, MUTED, PALETTE, colour_bar, shorten, tidy, unit_square, write_counts

SHOWN_CLASSES = 30
"""At most so many classes in a matrix or bar chart: those with the most images."""
GROUP_COLOURS = dict(zip(GROUPS, (PALETTE[0], PALETTE[3], PALETTE[1]), strict=True))


def draw_confusion(confusion: np.ndarray, classes: tuple[str, ...]) -> Figure:
    """Draw a confusion matrix (K, K), rows truth and columns answers, shaded by the share of each true class."""
    labels = most_frequent(confusion.sum(axis=1), SHOWN_CLASSES)
    counts = confusion[np.ix_(labels, labels)]
    share = counts / np.maximum(confusion[labels].sum(axis=1, keepdims=True), 1)
    names = [shorten(classes[label]) for label in labels]
    side = max(5.6, 2.6 + 0.62 * len(labels))
    figure = Figure(figsize=(side + 1.2, side), layout="constrained", facecolor="white")
    axes = figure.subplots()
    shading = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    tidy(axes, "Confusion" + _left_out(len(classes), len(labels)), "answered", "truth")
    axes.set_xticks(range(len(labels)), names, rotation=35, ha="right")
    axes.set_yticks(range(len(labels)), names)
    write_counts(axes, counts, share)
    colour_bar(figure, axes, shading, "share of the true class", aspect=14 + len(labels))
    return figure


def draw_reliability(bins: Reliability) -> Figure:
    """Draw accuracy over confidence, and below it how many answers each bin of confidence holds."""
    figure = Figure(figsize=(6.2, 7.2), layout="constrained", facecolor="white")
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    edges = np.arange(BINS) / BINS
    is_filled = bins.counts > 0
    tidy(upper, f"Can its confidence be believed?  ECE {bins.calibration_error:.3f}", "", "accuracy")
    unit_square(upper)
    upper.bar(edges, np.where(is_filled, bins.accuracy, 0), 1 / BINS, align="edge", color=PALETTE[0], alpha=0.85)
    upper.plot([0, 1], [0, 1], color=MUTED, linestyle="--", linewidth=1, label="confidence = accuracy")
    points = {"color": INK, "linestyle": "", "marker": "o", "markersize": 4}
    upper.plot(bins.confidence[is_filled], bins.accuracy[is_filled], label="mean confidence of each bin", **points)
    upper.legend(loc="upper left", frameon=True, framealpha=0.9, edgecolor=GRID, fontsize=9)
    tidy(lower, "", "confidence", "answers")
    lower.bar(edges, bins.counts, 1 / BINS, align="edge", color=FAINT)
    return figure


def draw_classes(confusion: np.ndarray, classes: tuple[str, ...], group_of: np.ndarray | None) -> Figure:
    """Draw each class's share of right answers (its recall), with precision and support, most images first.

    Args:
        confusion: (K, K), rows truth and columns answers.
        group_of: (K,) positions in `GROUPS`; None = one colour for all.
    """
    support = confusion.sum(axis=1)
    chosen = most_frequent(support, SHOWN_CLASSES)
    labels = sorted(chosen, key=lambda label: -support[label])
    precision, recall, _ = precision_recall_f1(confusion)
    figure = Figure(figsize=(8.4, 1.8 + 0.36 * len(labels)), layout="constrained", facecolor="white")
    axes = figure.subplots()
    rows = np.arange(len(labels))
    groups = [GROUPS[group_of[label]] for label in labels] if group_of is not None else [GROUPS[0]] * len(labels)
    axes.barh(rows, recall[labels], color=[GROUP_COLOURS[group] for group in groups], alpha=0.85)
    axes.plot(precision[labels], rows, color=INK, linestyle="", marker="|", markersize=11, markeredgewidth=2)
    tidy(axes, "Accuracy per class" + _left_out(len(classes), len(labels)), "bar: recall, mark: precision", "")
    axes.set_yticks(rows, [f"{shorten(classes[label])}  ({support[label]:,})" for label in labels])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12)
    for row, label in enumerate(labels):
        text = f"{recall[label]:.2f}" if support[label] else "no image"
        axes.text(1.02, row, text, va="center", color=INK, fontsize=9)
    if group_of is not None:
        _name_groups(axes)
    return figure


def most_frequent(support: np.ndarray, limit: int) -> list[int]:
    """Return the labels with the most images, at most `limit`, in label order."""
    return sorted(np.argsort(-support, kind="stable")[:limit].tolist())


def _name_groups(axes: Axes) -> None:
    handles = [Patch(color=GROUP_COLOURS[name], alpha=0.85, label=name) for name in GROUPS]
    place = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "ncols": len(GROUPS)}
    axes.legend(handles=handles, title="by training images", frameon=False, fontsize=9, title_fontsize=9, **place)


def _left_out(total: int, shown: int) -> str:
    return f"\n(the {shown} most frequent classes; {total - shown} more are not shown)" if total > shown else ""
