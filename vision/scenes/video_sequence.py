"""Scenes in motion: H.264 clips in which digits wander and hide each other, with tracks in MOT format."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from vision.generated import ensure_folder
from vision.scenes.background import draw_background, light_scene
from vision.scenes.canvas import Canvas
from vision.scenes.compose import Scene, draw_scan, finish_scene, scene_rng
from vision.scenes.digits import CLASSES, Split
from vision.scenes.reader import check_split
from vision.scenes.sprites import CLUTTER, Paint, Pose, Sprite, build_sprite, choose_paint, random_pose, warp_sprite
from vision.scenes.storage import box_from_mask, scenes_folder
from vision.settings import ScenesData
from vision.video import write_video

FPS = 25
_PAN_SHARE = 0.2
"""The background is this much larger than the picture; the camera pans over it."""
_NUM_DIGITS = (6, 10)
_NUM_CLUTTER = (1, 4)
_SIZES_PX = (22.0, 84.0)
_REFERENCE_PX = 320
_TURN_RADIANS = 0.25
_BREATH = 0.12
"""How much a digit grows and shrinks, as a share of its size."""


@dataclass(frozen=True, slots=True)
class Actor:
    """A sprite with its colours and its way through the picture."""

    sprite: Sprite
    paint: Paint
    pose: Pose
    """At the start."""
    velocity: tuple[float, float]
    """(x, y) pixels per frame; it turns back at the picture's edge."""
    swing: float
    """Radians per frame of its turning and breathing."""

    def pose_at(self, frame_index: int, image_size: tuple[int, int]) -> Pose:
        """The pose in a frame, counted from 0."""
        height, width = image_size
        x = _bounce(self.pose.center[0] + self.velocity[0] * frame_index, width)
        y = _bounce(self.pose.center[1] + self.velocity[1] * frame_index, height)
        swing = float(np.sin(self.swing * frame_index))
        size_px, angle = self.pose.size_px * (1 + _BREATH * swing), self.pose.angle + _TURN_RADIANS * swing
        return replace(self.pose, center=(x, y), size_px=size_px, angle=angle)


def ensure_video(data: ScenesData, split: str, num_sequences: int = 2, num_frames: int = 60) -> tuple[Path, ...]:
    """Generate the clips of a split unless they are there.

    Returns:
        One folder per clip, as MOT has them: `video.mp4`, `gt/gt.txt` (frames, pixels and classes counted from 1;
        `frame, id, left, top, width, height, 1, class, visibility`) and `seqinfo.ini`.

    Raises:
        DataError: an unknown split, no ffmpeg, or a folder that cannot be written.
    """
    checked = check_split(split)

    def fill(folder: Path) -> None:
        for index in range(num_sequences):
            _write_sequence(data, checked, index, num_frames, folder / _sequence_name(index))

    folder = scenes_folder(data) / "video" / f"{checked}-{num_sequences}x{num_frames}"
    ensure_folder(folder, fill)
    return tuple(folder / _sequence_name(index) for index in range(num_sequences))


def _sequence_name(index: int) -> str:
    return f"scenes-{index + 1:02d}"


def compose_sequence(seed: int, split: Split, index: int, num_frames: int, image_size: tuple[int, int]) -> list[Scene]:
    """Paint a clip; an object's `painted` position is the same in all its scenes and serves as its track."""
    rng = scene_rng(seed, split, 2, index)
    margin = tuple(round(side * _PAN_SHARE) for side in image_size)
    wide = draw_background(rng, (image_size[0] + margin[0], image_size[1] + margin[1]))
    actors = _cast(rng, split, image_size, wide)
    light_seed = int(rng.integers(2**32))
    scenes = []
    for frame_index in range(num_frames):
        canvas = Canvas(_pan(wide, frame_index / max(num_frames - 1, 1), image_size))
        for actor in actors:
            canvas.paint(warp_sprite(actor.sprite, actor.pose_at(frame_index, image_size)), actor.paint)
        image = light_scene(canvas.image, np.random.default_rng(light_seed))  # one lamp, one sensor for the clip
        scenes.append(finish_scene(canvas, np.array([actor.sprite.label for actor in actors]), image))
    return scenes


def _cast(rng: np.random.Generator, split: Split, image_size: tuple[int, int], wide: np.ndarray) -> list[Actor]:
    digits = rng.integers(len(CLASSES), size=rng.integers(*_NUM_DIGITS))
    clutter = np.full(rng.integers(*_NUM_CLUTTER), CLUTTER)
    labels = rng.permutation(np.concatenate([digits, clutter]))
    return [_build_actor(rng, split, int(label), image_size, wide) for label in labels]


def _build_actor(
    rng: np.random.Generator, split: Split, label: int, image_size: tuple[int, int], wide: np.ndarray
) -> Actor:
    height, width = image_size
    scale = min(image_size) / _REFERENCE_PX
    size_px = float(np.exp(rng.uniform(*np.log(_SIZES_PX)))) * scale
    sprite = build_sprite(rng, draw_scan(rng, split, label), label, size_px)
    pose = random_pose(rng, (rng.uniform(0, width), rng.uniform(0, height)), size_px)
    heading, speed = rng.uniform(0, 2 * np.pi), rng.uniform(0.8, 3.2) * scale
    velocity = (float(speed * np.cos(heading)), float(speed * np.sin(heading)))
    paint = choose_paint(rng, sprite.style, wide.mean(axis=(0, 1)))
    return Actor(sprite, paint, pose, velocity, swing=float(rng.uniform(0.04, 0.12)))


def _bounce(place: float, length: float) -> float:
    """Fold a straight way back and forth into 0 … length."""
    folded = place % (2 * length)
    return min(folded, 2 * length - folded)


def _pan(wide: np.ndarray, progress: float, image_size: tuple[int, int]) -> np.ndarray:
    """The part of the background that the camera sees; it moves by fractions of a pixel from corner to corner."""
    height, width = image_size
    down, right = (wide.shape[0] - height) * progress, (wide.shape[1] - width) * progress
    shift = np.array([[1, 0, right], [0, 1, down]], np.float64)
    return cv2.warpAffine(wide, shift, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def _write_sequence(data: ScenesData, split: Split, index: int, num_frames: int, folder: Path) -> None:
    scenes = compose_sequence(data.seed, split, index, num_frames, data.image_size)
    (folder / "gt").mkdir(parents=True)
    write_video(folder / "video.mp4", (scene.image for scene in scenes), FPS)
    (folder / "gt" / "gt.txt").write_text("".join(f"{line}\n" for line in _mot_lines(scenes)), encoding="utf-8")
    height, width = data.image_size
    settings = {
        "name": _sequence_name(index),
        "frameRate": FPS,
        "seqLength": num_frames,
        "imWidth": width,
        "imHeight": height,
    }
    lines = ["[Sequence]", *(f"{key}={value}" for key, value in settings.items())]
    (folder / "seqinfo.ini").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _mot_lines(scenes: list[Scene]) -> Iterator[str]:
    for frame, scene in enumerate(scenes, start=1):
        for painted, label, mask, visible in zip(
            scene.painted, scene.labels, scene.masks, scene.visibility, strict=True
        ):
            left, top, right, bottom = box_from_mask(mask)
            box = f"{left + 1},{top + 1},{right - left},{bottom - top}"
            yield f"{frame},{painted + 1},{box},1,{label + 1},{visible:.3f}"
