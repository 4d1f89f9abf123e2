"""Augmentation of boxed images as plain uint8 arrays: geometry, colour, mosaic, mixup, letterbox. No torch.

Only what needs no image library is offered here, so that the presets can be printed without loading one.
"""

import os

from vision.augment.fitting import PAD_VALUE, LetterboxInfo

__all__ = ["PAD_VALUE", "LetterboxInfo"]

# Wherever this package imports albumentations: it would ask a package index for a newer version of itself.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
