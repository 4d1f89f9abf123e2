"""Anchors fitted to the boxes of a training split: k-means within each level of a pyramid. No model here.

Source: Redmon and Farhadi 2017, arXiv:1612.08242, section 2 (dimension clusters). Unlike there, distances are Euclidean
between logarithms of width and height, so that twice and half as large count alike; and every level is fitted to those
boxes alone that its default anchors are nearest to in size, as a level's stride cannot serve any other.
"""

import warnings
from collections.abc import Sequence

import numpy as np

RESTARTS = 10
SEED = 0
"""Of k-means: the anchors follow from the boxes alone."""


def fit_anchors(sizes: np.ndarray, defaults: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Fit the anchors of every level to boxes.

    Args:
        sizes: (N, 2) width and height of boxes, pixels; those without area do not count.
        defaults: per level (A, 2) width and height of its anchors, pixels; A may differ between levels.

    Returns:
        Per level (A, 2) float32 by rising area. A level whose boxes show fewer than A different sizes keeps its
        defaults. Ties between levels go to the earlier one.
    """
    sizes = np.asarray(sizes, np.float64).reshape(-1, 2)
    sizes = np.log(sizes[(sizes > 0).all(axis=1)])
    middles = np.array([np.log(level).mean() for level in defaults])
    nearest = np.abs(sizes.mean(axis=1)[:, None] - middles).argmin(axis=1)
    return [_fit_level(sizes[nearest == index], level) for index, level in enumerate(defaults)]


def _fit_level(log_sizes: np.ndarray, defaults: np.ndarray) -> np.ndarray:
    if len(np.unique(log_sizes, axis=0)) < len(defaults):
        return np.asarray(defaults, np.float32)
    from sklearn.cluster import KMeans  # takes a second; most detectors fit no anchors
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        centres = KMeans(len(defaults), n_init=RESTARTS, random_state=SEED).fit(log_sizes).cluster_centers_
    return np.exp(centres[np.argsort(centres.sum(axis=1), kind="stable")]).astype(np.float32)


def mean_best_overlap(sizes: np.ndarray, anchors: np.ndarray) -> float:
    """Return the mean over boxes (N, 2) of the IoU with the best of anchors (A, 2) around the same centre; 0 if N is 0.

    Source: Redmon and Farhadi 2017, table 1.
    """
    if not len(sizes):
        return 0.0
    shared = np.minimum(sizes[:, None], anchors[None]).prod(axis=2)
    together = sizes.prod(axis=1)[:, None] + anchors.prod(axis=1)[None] - shared
    return float((shared / together).max(axis=1).mean())
