"""COCO's uncompressed run-length masks: runs of 0 and 1 in turn, down the columns, starting with 0."""

import numpy as np


def rle_from_mask(mask: np.ndarray) -> dict[str, list[int]]:
    """Encode a mask as a COCO `segmentation`.

    Args:
        mask: (H, W) bool. An empty mask gives one run of zeros.

    Returns:
        `{"size": [H, W], "counts": [...]}`; the counts add up to H * W.
    """
    flat = mask.T.reshape(-1)
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    empty_start = [0] if flat[0] else []  # the first run counts zeros, even if there are none
    counts = np.diff(np.concatenate([[0], empty_start, changes, [flat.size]]).astype(np.int64))
    return {"size": [mask.shape[0], mask.shape[1]], "counts": [int(count) for count in counts]}


def mask_from_rle(rle: dict[str, list[int]]) -> np.ndarray:
    """Decode a COCO `segmentation` made by `rle_from_mask`; returns (H, W) bool.

    Raises:
        ValueError: if the runs do not cover the image exactly.
    """
    height, width = rle["size"]
    counts = np.asarray(rle["counts"], dtype=np.int64)
    if counts.sum() != height * width:
        raise ValueError(f"runs cover {counts.sum()} pixels, expected {height} x {width} = {height * width}")
    flat = np.repeat(np.arange(counts.size) % 2 == 1, counts)
    return flat.reshape(width, height).T
