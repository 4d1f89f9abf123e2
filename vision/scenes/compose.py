"""What stands where: the plan of a split (how many objects of which class) and the painting of one scene.

Both are pure functions of (seed, split, number of images, image index), so scenes may be made in any order.
"""

from dataclasses import dataclass

import numpy as np

from vision.scenes.background import draw_background, light_scene
from vision.scenes.canvas import Canvas
from vision.scenes.digits import CLASSES, SPLITS, Split, load_scans
from vision.scenes.sprites import CLUTTER, build_sprite, choose_paint, random_pose, warp_sprite

VERSION = 3
"""Raise it whenever a change here alters the scenes: the folder's name changes and they are made anew."""

HEAD_TO_TAIL = 20.0
"""The most frequent class (zero) has this many times the objects of the rarest (nine)."""
MAX_OBJECTS = 14
MIN_VISIBLE = 0.35
"""A digit of which less can be seen would not be annotated; placing avoids it."""
_MIN_LEFT_VISIBLE = 0.55
_SMALL_INSIDE, _LARGE_INSIDE = 0.85, 0.55
"""Share of a digit that must lie inside the picture; a small one cut in half cannot be read."""
_EMPTY_SHARE = 0.03
_MAX_CLUTTER = 4
# Shares of small, medium and large digits; log-uniform between the edges, pixels of the longer side at 320 x 320.
_SIZE_SHARES = (0.44, 0.38, 0.18)
_SIZE_EDGES_PX = (13.0, 28.0, 60.0, 116.0)
_REFERENCE_PX = 320
_MIN_SIZE_PX = {"ink": 9.0, "sticker": 11.0, "tile": 13.0, "badge": 14.0}
_TRIES = 40


@dataclass(frozen=True, slots=True)
class Scene:
    """One finished picture and its objects, in painting order."""

    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    labels: np.ndarray
    """(N,) int64."""
    masks: np.ndarray
    """(N, H, W) bool, visible pixels only."""
    visibility: np.ndarray
    """(N,) float64, visible share of the whole object."""
    painted: np.ndarray
    """(N,) int64, position in the painting order, distractors counted."""


def scene_rng(seed: int, split: Split, *place: int) -> np.random.Generator:
    """The random numbers of one place (an image, a video) of a split, independent of all others."""
    return np.random.default_rng([VERSION, seed, SPLITS.index(split), *place])


def plan_labels(seed: int, split: Split, num_images: int) -> list[np.ndarray]:
    """Deal the digits of a split to its images: exact long tail, every class at least once.

    Returns:
        `num_images` arrays (N,) of labels, 0 <= N <= MAX_OBJECTS.
    """
    rng = scene_rng(seed, split, 0)
    counts = np.clip(np.round(rng.gamma(3.4, 2.35, num_images)), 1, MAX_OBJECTS).astype(int)
    counts[rng.random(num_images) < _EMPTY_SHARE] = 0
    while counts.sum() < len(CLASSES):  # too few images to show every class: fill up the emptiest
        counts[counts.argmin()] += 1
    frequency = HEAD_TO_TAIL ** (-np.arange(len(CLASSES)) / (len(CLASSES) - 1))
    per_class = 1 + _apportion(frequency / frequency.sum(), int(counts.sum()) - len(CLASSES))
    deck = rng.permutation(np.repeat(np.arange(len(CLASSES)), per_class))
    return np.split(deck, np.cumsum(counts)[:-1])


def _apportion(shares: np.ndarray, total: int) -> np.ndarray:
    """Split `total` by shares into whole numbers; the largest remainders are rounded up, ties to the lower label."""
    exact = shares * total
    whole = np.floor(exact).astype(int)
    rounded_up = np.argsort(whole - exact, kind="stable")[: total - whole.sum()]
    whole[rounded_up] += 1
    return whole


def compose_scene(seed: int, split: Split, index: int, labels: np.ndarray, image_size: tuple[int, int]) -> Scene:
    """Paint image `index` of a split with the given digits and some distractors.

    A digit for which no place is left where everything stays visible enough is left out, annotation and all;
    that happens only where the image is very small for so many.
    """
    rng = scene_rng(seed, split, 1, index)
    canvas = Canvas(draw_background(rng, image_size))
    cast = rng.permutation(np.concatenate([labels, np.full(rng.integers(_MAX_CLUTTER + 1), CLUTTER)])).astype(int)
    painted: list[int] = []
    for label in cast:
        if _place(rng, canvas, split, int(label), painted):
            painted.append(int(label))
    return finish_scene(canvas, np.asarray(painted, np.int64), light_scene(canvas.image, rng))


def finish_scene(canvas: Canvas, labels: np.ndarray, image: np.ndarray) -> Scene:
    """Read the digits' visible masks off the canvas, leaving distractors and hidden digits out."""
    visibility = canvas.visible_shares()
    kept = np.flatnonzero((labels != CLUTTER) & (visibility >= MIN_VISIBLE))
    return Scene(image, labels[kept], canvas.owner[None] == kept[:, None, None], visibility[kept], kept)


def draw_size(rng: np.random.Generator, image_size: tuple[int, int]) -> float:
    """Draw the longer side of a digit in pixels; most are small."""
    band = rng.choice(len(_SIZE_SHARES), p=_SIZE_SHARES)
    low, high = np.log(_SIZE_EDGES_PX[band]), np.log(_SIZE_EDGES_PX[band + 1])
    return float(np.exp(rng.uniform(low, high)) * min(image_size) / _REFERENCE_PX)


def draw_scan(rng: np.random.Generator, split: Split, label: int) -> np.ndarray | None:
    """Draw one of the split's own scans of a digit; None for a distractor."""
    if label == CLUTTER:
        return None
    scans = load_scans(split)[label]
    return scans[rng.integers(len(scans))]


def _place(rng: np.random.Generator, canvas: Canvas, split: Split, label: int, painted: list[int]) -> bool:
    """Find a place for one more sprite and paint it; False if there is none."""
    image_size = canvas.owner.shape
    size_px = draw_size(rng, (image_size[0], image_size[1]))
    sprite = build_sprite(rng, draw_scan(rng, split, label), label, size_px)
    pose = random_pose(rng, (0.0, 0.0), max(size_px, _MIN_SIZE_PX[sprite.style]))
    at_origin = warp_sprite(sprite, pose)
    is_digit = np.asarray(painted, int) != CLUTTER
    for _ in range(_TRIES):
        y, x = (int(rng.integers(side)) for side in image_size)
        patch = at_origin.moved(y, x)
        own_share, other_shares = canvas.visible_shares_after(patch)
        needed = _SMALL_INSIDE if size_px < _SIZE_EDGES_PX[1] else _LARGE_INSIDE
        if own_share >= needed and np.all(other_shares[is_digit] >= _MIN_LEFT_VISIBLE):
            canvas.paint(patch, choose_paint(rng, sprite.style, canvas.background_under(patch)))
            return True
    return False
