"""The embedded data set: real handwritten digits over real photographs, generated on first use, offline."""

from vision.scenes.compose import VERSION
from vision.scenes.crops import ensure_crops
from vision.scenes.digits import CLASSES, SPLITS
from vision.scenes.reader import read_masks, read_scenes
from vision.scenes.storage import annotation_path, ensure_scenes, image_folder, scenes_folder
from vision.scenes.video_sequence import ensure_video

__all__ = [
    "CLASSES",
    "SPLITS",
    "VERSION",
    "annotation_path",
    "ensure_crops",
    "ensure_scenes",
    "ensure_video",
    "image_folder",
    "read_masks",
    "read_scenes",
    "scenes_folder",
]
