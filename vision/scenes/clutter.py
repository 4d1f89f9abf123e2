"""Distractors of `scenes`: letters, doodles and shapes that wear the same clothes as the digits but are none."""

import cv2
import numpy as np

# Strokes in a unit square, x right and y down; only letters that nobody takes for a digit (no B, D, G, I, O, Q, S, Z).
_LETTERS: dict[str, tuple[tuple[tuple[float, float], ...], ...]] = {
    "A": (((0.1, 1), (0.5, 0), (0.9, 1)), ((0.26, 0.62), (0.74, 0.62))),
    "E": (((0.85, 0), (0.15, 0), (0.15, 1), (0.85, 1)), ((0.15, 0.5), (0.7, 0.5))),
    "F": (((0.85, 0), (0.15, 0), (0.15, 1)), ((0.15, 0.5), (0.7, 0.5))),
    "H": (((0.12, 0), (0.12, 1)), ((0.88, 0), (0.88, 1)), ((0.12, 0.5), (0.88, 0.5))),
    "K": (((0.15, 0), (0.15, 1)), ((0.85, 0), (0.15, 0.55)), ((0.38, 0.42), (0.88, 1))),
    "M": (((0.05, 1), (0.12, 0), (0.5, 0.6), (0.88, 0), (0.95, 1)),),
    "N": (((0.12, 1), (0.12, 0), (0.88, 1), (0.88, 0)),),
    "T": (((0.05, 0), (0.95, 0)), ((0.5, 0), (0.5, 1))),
    "V": (((0.08, 0), (0.5, 1), (0.92, 0)),),
    "W": (((0, 0), (0.25, 1), (0.5, 0.35), (0.75, 1), (1, 0)),),
    "X": (((0.1, 0), (0.9, 1)), ((0.9, 0), (0.1, 1))),
    "Y": (((0.08, 0), (0.5, 0.5), (0.92, 0)), ((0.5, 0.5), (0.5, 1))),
}
_BOARD_PX = 128
"""Side of the drawing board; glyphs are shrunk from it with area averaging."""
_RADIUS_PX = 40
_PEN_PX = (9, 15)


def draw_clutter(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw one random distractor glyph.

    Returns:
        (size, size) float32 in [0, 1], the ink's coverage, in the middle two thirds like a digit's.
    """
    draw = (_letter, _letter, _scribble, _polygon, _star)[rng.integers(5)]
    board = np.zeros((_BOARD_PX, _BOARD_PX), np.uint8)
    draw(board, rng)
    interpolation = cv2.INTER_AREA if size < _BOARD_PX else cv2.INTER_CUBIC
    return np.clip(cv2.resize(board, (size, size), interpolation=interpolation).astype(np.float32) / 255, 0.0, 1.0)


def _letter(board: np.ndarray, rng: np.random.Generator) -> None:
    strokes = list(_LETTERS.values())[rng.integers(len(_LETTERS))]
    thickness = int(rng.integers(*_PEN_PX))
    width = rng.uniform(44, 68)
    for stroke in strokes:
        points = np.asarray(stroke) * (width, 2 * _RADIUS_PX) + ((_BOARD_PX - width) / 2, _BOARD_PX / 2 - _RADIUS_PX)
        _draw_stroke(board, points + rng.normal(0, 2, points.shape), thickness)


def _scribble(board: np.ndarray, rng: np.random.Generator) -> None:
    """A zigzag with four or five corners: open, so that it is no 0, 6, 8 or 9."""
    num_corners = int(rng.integers(4, 6))
    x = np.linspace(26, 102, num_corners) + rng.uniform(-5, 5, num_corners)
    y = np.where(np.arange(num_corners) % 2 == 0, 88, 40) + rng.uniform(-12, 12, num_corners)
    _draw_stroke(board, np.stack([x, y], axis=1), int(rng.integers(*_PEN_PX)))


def _draw_stroke(board: np.ndarray, points: np.ndarray, thickness: int) -> None:
    cv2.polylines(board, [points.astype(np.int32)], False, 255, thickness, cv2.LINE_AA)


def _polygon(board: np.ndarray, rng: np.random.Generator) -> None:
    num_corners = int(rng.integers(3, 7))
    # The points between two corners lie on the straight edge: at cos(pi / n) of the radius.
    _draw_radial(board, num_corners, inner=np.cos(np.pi / num_corners), turn=rng.uniform(0, np.pi))


def _star(board: np.ndarray, rng: np.random.Generator) -> None:
    _draw_radial(board, int(rng.integers(4, 8)), inner=rng.uniform(0.4, 0.6), turn=rng.uniform(0, np.pi))


def _draw_radial(board: np.ndarray, num_corners: int, inner: float, turn: float) -> None:
    steps = np.arange(2 * num_corners)
    angle = turn + steps * np.pi / num_corners
    radius = _RADIUS_PX * np.where(steps % 2 == 0, 1.0, inner)
    corners = _BOARD_PX / 2 + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    cv2.fillPoly(board, [corners.astype(np.int32)], 255, cv2.LINE_AA)
