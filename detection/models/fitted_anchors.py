"""Anchors that follow the data (`model.anchors: auto`): kept with the weights, so that a bundle needs no data."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from detection.anchors import fit_anchors, mean_best_overlap
from detection.models.ssd_parts import DefaultBoxes
from detection.models.torchvision_parts import FITTED, FloatAnchors


class FittedAnchors(FloatAnchors):
    """torchvision's anchors with sizes of their own per level, in pixels; the defaults until they are fitted."""

    def __init__(self, sizes: Sequence[Sequence[float]], aspect_ratios: Sequence[Sequence[float]]) -> None:
        super().__init__(sizes, aspect_ratios)
        for level, cell in enumerate(self.cell_anchors):
            self.register_buffer(f"{FITTED}{level}", cell[:, 2:] - cell[:, :2])

    def set_cell_anchors(self, dtype: torch.dtype, device: torch.device) -> None:
        """Put each level's anchors around the origin."""
        sizes = [size.to(device=device, dtype=dtype) for size in _buffers(self)]
        self.cell_anchors = [torch.cat((-size, size), dim=1) / 2 for size in sizes]

    def sizes_px(self, _: tuple[int, int]) -> list[np.ndarray]:
        """Per level the (A, 2) width and height of the anchors."""
        return [size.cpu().numpy().copy() for size in _buffers(self)]

    def set_sizes_px(self, sizes: Sequence[np.ndarray], _: tuple[int, int]) -> None:
        """Replace them."""
        for buffer, size in zip(_buffers(self), sizes, strict=True):
            buffer.copy_(torch.from_numpy(size))


class FittedDefaultBoxes(DefaultBoxes):
    """SSD's default boxes with sizes of their own per map, as shares of the image; the defaults until fitted."""

    def __init__(self, aspect_ratios: list[list[int]], steps: list[int] | None = None) -> None:
        super().__init__(aspect_ratios, steps=steps)
        for level, pairs in enumerate(self._wh_pairs):
            self.register_buffer(f"{FITTED}{level}", pairs)
        self._use()
        self.register_load_state_dict_post_hook(_use_loaded)

    def _use(self) -> None:
        # torchvision spreads them out on the CPU; reading them off a GPU at every step would wait for it.
        self._wh_pairs = [size.detach().cpu().clone() for size in _buffers(self)]

    def sizes_px(self, image_size: tuple[int, int]) -> list[np.ndarray]:
        """Per map the (A, 2) width and height of the boxes on an image of (height, width)."""
        return [pairs.numpy() * _width_and_height(image_size) for pairs in self._wh_pairs]

    def set_sizes_px(self, sizes: Sequence[np.ndarray], image_size: tuple[int, int]) -> None:
        """Replace them."""
        for buffer, size in zip(_buffers(self), sizes, strict=True):
            buffer.copy_(torch.from_numpy(size / _width_and_height(image_size)))
        self._use()


def fit_model_anchors(model: nn.Module, box_sizes: np.ndarray, image_size: tuple[int, int]) -> list[str]:
    """Fit the anchors of a detector that was built with `anchors: auto`, in place; nothing happens to any other.

    Args:
        box_sizes: (N, 2) width and height of the training split's boxes in letterboxed pixels.
        image_size: (height, width) that the model sees.

    Returns:
        What was done, in words: one sentence, or none.
    """
    notes = []
    for module in model.modules():
        if isinstance(module, FittedAnchors | FittedDefaultBoxes):
            defaults = module.sizes_px(image_size)
            fitted = fit_anchors(box_sizes, defaults)
            module.set_sizes_px(fitted, image_size)
            before, after = (mean_best_overlap(box_sizes, np.concatenate(each)) for each in (defaults, fitted))
            num_fitted = sum(not np.array_equal(a, b) for a, b in zip(defaults, fitted, strict=True))
            notes.append(
                f"model.anchors: {num_fitted} of {len(fitted)} levels fitted to {len(box_sizes)} boxes; the best "
                f"anchor overlaps a box by {after:.2f} on average, {before:.2f} before"
            )
    return notes


def _buffers(module: nn.Module) -> list[Tensor]:
    return [buffer for name, buffer in module.named_buffers(recurse=False) if name.startswith(FITTED)]


def _use_loaded(module: nn.Module, _: object) -> None:
    assert isinstance(module, FittedDefaultBoxes)
    module._use()


def _width_and_height(image_size: tuple[int, int]) -> np.ndarray:
    return np.array([image_size[1], image_size[0]], np.float32)
