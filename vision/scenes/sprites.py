"""From a glyph to a thing in the picture: ink, sticker, tile or badge, its colours, and its place in space.

A sprite is three layers of coverage on a square board, `LAYERS` deep: the ink, the body it is written on and the
trim along the body's edge. Colours are chosen late, when the background under the sprite is known.
"""

import colorsys
from dataclasses import dataclass, replace

import cv2
import numpy as np

from vision.scenes.clutter import draw_clutter
from vision.scenes.digits import enlarge_scan

CLUTTER = -1
"""The label of a sprite that is no digit."""
SOLID = 0.5
"""A pixel belongs to an object where its coverage is at least this."""
_STYLES = ("ink", "sticker", "tile", "badge")
_STYLE_CHANCES = (0.30, 0.25, 0.30, 0.15)
_BOARDS_PX = (32, 64, 128, 256)
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, slots=True)
class Pose:
    """Where a sprite stands. Angles are radians, positive = clockwise on the screen."""

    center: tuple[float, float]
    """(x, y) in pixels."""
    size_px: float
    """Longer side of the upright sprite."""
    angle: float
    tilt: np.ndarray
    """(4, 2) shift of the board's corners as a share of its side: perspective."""


@dataclass(frozen=True, slots=True)
class Sprite:
    """A glyph in its clothes, without colour or place."""

    label: int
    """0 … 9, or CLUTTER."""
    style: str
    layers: np.ndarray
    """(S, S, 3) float32 coverage in [0, 1]: ink, body, trim."""
    extent: float
    """Longer side of what is drawn, as a share of the board's side."""


@dataclass(frozen=True, slots=True)
class Patch:
    """A sprite laid out in the picture's pixels; may reach over the picture's edge."""

    layers: np.ndarray
    """(h, w, 3) float32 coverage."""
    solid: np.ndarray
    """(h, w) bool, the object's own pixels."""
    top: int
    left: int

    def moved(self, down: int, right: int) -> "Patch":
        return replace(self, top=self.top + down, left=self.left + right)


@dataclass(frozen=True, slots=True)
class Paint:
    """A sprite's colours, (3,) float32 RGB in [0, 1] each, and how it meets the light."""

    ink: np.ndarray
    body: np.ndarray
    trim: np.ndarray
    shadow: float
    """Darkness of the soft shadow, 0 … 1."""
    halo: float
    """Strength of the glow around bare ink in the body's colour; keeps it legible on a restless background."""


def build_sprite(rng: np.random.Generator, scan: np.ndarray | None, label: int, size_px: float) -> Sprite:
    """Dress a digit scan, or a random distractor when `scan` is None, for a size in pixels."""
    style = str(rng.choice(_STYLES, p=_STYLE_CHANCES))
    # The board is up to twice as fine as the picture, so that bilinear warping neither blurs nor flickers.
    board_px = next((px for px in _BOARDS_PX if px >= 1.2 * size_px), _BOARDS_PX[-1])
    weight = rng.uniform(0.0, 1.0)
    ink = draw_clutter(rng, board_px) if scan is None else enlarge_scan(scan, board_px, weight)
    body, trim = _dress(rng, style, ink)
    layers = np.stack([ink, body, trim], axis=-1)
    _, _, width, height = cv2.boundingRect(_is_solid(np.maximum(ink, body)))
    return Sprite(label, style, layers, max(width, height) / board_px)


def random_pose(rng: np.random.Generator, center: tuple[float, float], size_px: float) -> Pose:
    """Turn a little (no 6 becomes a 9) and tilt in perspective."""
    angle = float(np.clip(rng.normal(0, 0.15), -0.45, 0.45))
    return Pose(center, size_px, angle, rng.uniform(-0.07, 0.07, (4, 2)))


def warp_sprite(sprite: Sprite, pose: Pose) -> Patch:
    """Lay a sprite's board into the picture by one homography."""
    board_px = sprite.layers.shape[0]
    unit = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    cos, sin = np.cos(pose.angle), np.sin(pose.angle)
    turned = (unit + pose.tilt) @ np.array([[cos, sin], [-sin, cos]])
    corners = turned * (pose.size_px / sprite.extent) + np.asarray(pose.center)
    left, top = np.floor(corners.min(axis=0)).astype(int) - 1
    right, bottom = np.ceil(corners.max(axis=0)).astype(int) + 1
    source = (unit + 0.5) * board_px - 0.5  # pixel centres lie at whole numbers
    target = corners - (left, top) - 0.5
    homography = cv2.getPerspectiveTransform(source.astype(np.float32), target.astype(np.float32))
    layers = cv2.warpPerspective(sprite.layers, homography, (int(right - left), int(bottom - top)))
    return Patch(layers, np.maximum(layers[..., 0], layers[..., 1]) >= SOLID, int(top), int(left))


def choose_paint(rng: np.random.Generator, style: str, background: np.ndarray) -> Paint:
    """Choose colours that can be told from the background and the ink from its body.

    Args:
        background: (3,) RGB, mean of the picture under the sprite.
    """
    is_bright = float(background @ _LUMINANCE) > rng.uniform(0.4, 0.6)
    light, dark = _random_colour(rng, bright=True), _random_colour(rng, bright=False)
    if style == "ink":
        ink, body = (dark, light) if is_bright else (light, dark)
        return Paint(ink, body, body, shadow=0.0, halo=float(rng.uniform(0.35, 0.75)))
    body_is_bright = style == "sticker" or rng.random() < (0.35 if is_bright else 0.65)
    ink, body = (dark, light) if body_is_bright else (light, dark)
    if style == "sticker":
        body = 0.25 * body + 0.72  # nearly white, as printed stickers are
    trim = ink if rng.random() < 0.4 else 0.7 * body + 0.3 * float(not body_is_bright)
    return Paint(ink, body.astype(np.float32), trim.astype(np.float32), float(rng.uniform(0.25, 0.6)), halo=0.0)


def _random_colour(rng: np.random.Generator, bright: bool) -> np.ndarray:
    """A colour whose luminance lies well above 0.6 (bright) or well below 0.35 (dark)."""
    hue, saturation = rng.random(), rng.uniform(0.15, 0.9) if bright else rng.uniform(0.4, 1.0)
    colour = np.asarray(colorsys.hsv_to_rgb(hue, saturation, 1.0), np.float32)
    luminance = float(colour @ _LUMINANCE)
    wanted = rng.uniform(0.68, 0.92) if bright else rng.uniform(0.06, 0.3)
    if wanted <= luminance:
        return colour * np.float32(wanted / luminance)
    return colour + (1 - colour) * np.float32((wanted - luminance) / (1 - luminance))


def _dress(rng: np.random.Generator, style: str, ink: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the body and the trim of a style, each (S, S) float32 coverage."""
    if style == "ink":
        return np.zeros_like(ink), np.zeros_like(ink)
    if style == "sticker":
        return _rim(rng, ink), np.zeros_like(ink)
    return _plate(rng, ink, is_round=style == "badge")


def _rim(rng: np.random.Generator, ink: np.ndarray) -> np.ndarray:
    """The ink, made wider all around: a sticker cut out along the digit."""
    rim_px = max(2 * round(ink.shape[0] * rng.uniform(0.05, 0.075)) + 1, 3)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (rim_px, rim_px))
    return cv2.GaussianBlur(cv2.dilate(ink, kernel), (0, 0), 0.6)


def _plate(rng: np.random.Generator, ink: np.ndarray, is_round: bool) -> tuple[np.ndarray, np.ndarray]:
    """A disc or a tile with rounded corners around the ink, often with a line along its edge."""
    board_px = ink.shape[0]
    left, top, width, height = cv2.boundingRect(_is_solid(ink))
    center = (left + width / 2, top + height / 2)
    half = 0.5 * max(height, 1.1 * width) + board_px * rng.uniform(0.07, 0.1)
    roundness = rng.uniform(0.1, 0.45)
    if is_round:
        half, roundness = 1.08 * half, 1.0  # a digit's corners need more room in a disc
    line_px = board_px * rng.uniform(0.02, 0.04) if rng.random() < 0.6 else 0.0
    distance = _rounded_square(board_px, center, half, half * roundness)
    body = np.clip(0.5 - distance, 0.0, 1.0)
    inner = np.clip(0.5 - (distance + line_px), 0.0, 1.0)
    return body, body - inner


def _is_solid(coverage: np.ndarray) -> np.ndarray:
    """(S, S) uint8, 1 where an object would own the pixel, as OpenCV wants it."""
    return (coverage >= SOLID).astype(np.uint8)


def _rounded_square(board_px: int, center: tuple[float, float], half: float, corner: float) -> np.ndarray:
    """Signed distance in pixels to a rounded square's edge, negative inside; (S, S) float32."""
    places = np.arange(board_px, dtype=np.float32) + 0.5
    x = np.abs(places - center[0])[None] - (half - corner)
    y = np.abs(places - center[1])[:, None] - (half - corner)
    outside = np.hypot(np.maximum(x, 0), np.maximum(y, 0))
    return (outside + np.minimum(np.maximum(x, y), 0) - corner).astype(np.float32)
