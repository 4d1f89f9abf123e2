"""Augmentation of boxed images as plain uint8 arrays: geometry, colour, several images in one, letterbox. No torch.

Nothing is imported here, so that the presets can be printed without loading an image library.
"""

import os

# Wherever this package imports albumentations: it would ask a package index for a newer version of itself.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
