"""Two images blended, with the objects of both (Zhang et al. 2018, arXiv:1710.09412, as YOLOX uses it)."""

import cv2
import numpy as np

from vision.augment.geometry import BoxedImage

SHARE = 0.5
"""Weight of each image. Fixed as in YOLOX (Ge et al. 2021, arXiv:2107.08430), so that labels need no weights."""


def mixup(sample: BoxedImage, partner: BoxedImage) -> BoxedImage:
    """Blend two samples of equal size half and half; the objects of both are kept with full weight."""
    return BoxedImage(
        cv2.addWeighted(sample.image, SHARE, partner.image, SHARE, 0),
        np.concatenate([sample.boxes, partner.boxes]),
        np.concatenate([sample.labels, partner.labels]),
    )
