"""Dealing images into parts: every class in its share, what belongs together in one part. Numbers only, no files."""

import re
from collections.abc import Sequence

import numpy as np

from foundation.errors import ConfigError


def group_keys(names: Sequence[str], pattern: str | None) -> tuple[list[str], int]:
    """Say which group each image belongs to.

    Args:
        names: of the images.
        pattern: regular expression, searched in each name; its first group in brackets, or without one all of the
            match, is the key. None = every image is a group.

    Returns:
        a key per image; and how many the pattern does not match: each of them is a group of its own.

    Raises:
        ConfigError: if the pattern is none, or matches no name.
    """
    if pattern is None:
        return list(names), 0
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"--group {pattern!r} is no regular expression: {error}") from error
    matches = [expression.search(name) for name in names]
    if not any(matches):
        raise ConfigError(f"--group {pattern!r} matches no image's name; they look like {', '.join(names[:3])}")
    index = 1 if expression.groups else 0
    keys = [f"={match.group(index)}" if match else name for match, name in zip(matches, names, strict=True)]
    return keys, matches.count(None)


def stratify(counts: np.ndarray, shares: Sequence[float], seed: int) -> np.ndarray:
    """Deal groups into parts so that each part gets its share of every class and of the images.

    Class by class, the rarest of those left first, its groups go one by one, those richest in it first, to the part
    that still wants most of it; of equals, to the one that wants most images; then by the seed.
    Source: Sechidis et al. 2011, "On the Stratification of Multi-Label Data", algorithm 1, on groups instead of
    samples; a class's groups are dealt in one go.

    Args:
        counts: (G, 1 + K) per group its images, and its objects of each class.
        shares: of each part; they add up to 1.
        seed: decides between equals.

    Returns:
        (G,) int64, the part of each group.
    """
    rng = np.random.default_rng(seed)
    wanted = np.outer(shares, counts.sum(axis=0)).astype(np.float64)
    part_of = np.full(len(counts), -1, np.int64)
    shuffled = rng.permutation(len(counts))
    while (left := shuffled[part_of[shuffled] < 0]).size:
        remaining = counts[left].sum(axis=0)
        classes = np.flatnonzero(remaining[1:]) + 1
        column = int(classes[remaining[classes].argmin()]) if classes.size else 0
        having = left[counts[left, column] > 0]
        for group in having[np.argsort(-counts[having, column], kind="stable")]:
            order = np.lexsort((rng.random(len(shares)), wanted[:, 0], wanted[:, column]))
            part_of[group] = order[-1]
            wanted[order[-1]] -= counts[group]
    return part_of
