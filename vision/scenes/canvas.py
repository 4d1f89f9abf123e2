"""The picture being painted: colours, and which object owns each pixel, so that occlusion is known exactly."""

import cv2
import numpy as np

from vision.scenes.sprites import Paint, Patch

NOBODY = -1


class Canvas:
    """A background on which patches are painted one over the other."""

    def __init__(self, background: np.ndarray) -> None:
        """Start with a background, (H, W, 3) float32 RGB in [0, 1]; it is painted over."""
        self.image = background
        self.owner: np.ndarray = np.full(background.shape[:2], NOBODY, np.int16)
        self.full_areas: list[int] = []
        """Pixels of each painted object as if nothing hid it, outside the picture too."""
        self.visible_areas: list[int] = []
        """Pixels of each painted object that can be seen now."""

    def _window(self, top: int, left: int, size: tuple[int, ...]) -> tuple[slice, slice, slice, slice]:
        """Where something of (height, width) lies: rows and columns of the picture, then its own."""
        height, width = self.owner.shape
        first_row, end_row = min(max(top, 0), height), min(max(top + size[0], 0), height)
        first_column, end_column = min(max(left, 0), width), min(max(left + size[1], 0), width)
        own_rows, own_columns = slice(first_row - top, end_row - top), slice(first_column - left, end_column - left)
        return slice(first_row, end_row), slice(first_column, end_column), own_rows, own_columns

    def visible_shares(self) -> np.ndarray:
        """(N,) float64, the share of each painted object that can be seen now."""
        return np.asarray(self.visible_areas) / np.maximum(self.full_areas, 1)

    def visible_shares_after(self, patch: Patch) -> tuple[float, np.ndarray]:
        """Foresee what painting a patch would leave: the patch's own visible share, and the (N,) others'."""
        rows, columns, inner_rows, inner_columns = self._window(patch.top, patch.left, patch.solid.shape)
        inside = patch.solid[inner_rows, inner_columns]
        hidden = self._count_owners(self.owner[rows, columns][inside])
        others = (np.asarray(self.visible_areas, int) - hidden) / np.maximum(self.full_areas, 1)
        return int(inside.sum()) / max(int(patch.solid.sum()), 1), others

    def _count_owners(self, owners: np.ndarray) -> np.ndarray:
        """(N,) how many of these pixels each painted object owns."""
        return np.bincount(owners[owners != NOBODY], minlength=len(self.full_areas))

    def background_under(self, patch: Patch) -> np.ndarray:
        """(3,) mean RGB of what a patch would cover; mid grey where it lies outside."""
        rows, columns, _, _ = self._window(patch.top, patch.left, patch.solid.shape)
        region = self.image[rows, columns].reshape(-1, 3)
        return region.mean(axis=0) if len(region) else np.full(3, 0.5, np.float32)

    def paint(self, patch: Patch, paint: Paint) -> None:
        """Paint a patch over everything, shadow or halo first, and take its pixels into possession."""
        self._soft_edge(patch, paint)
        rows, columns, inner_rows, inner_columns = self._window(patch.top, patch.left, patch.solid.shape)
        region = self.image[rows, columns]
        ink, body, trim = (patch.layers[inner_rows, inner_columns, i, None] for i in range(3))
        # Light falls from above: the body is a little brighter at its top than at its foot.
        height = patch.layers.shape[0]
        light = np.linspace(1.06, 0.92, height, dtype=np.float32)[inner_rows, None, None]
        if not paint.halo:  # bare ink has neither body nor trim
            region += body * (np.minimum(paint.body * light, 1) - region)
            region += trim * (np.minimum(paint.trim * light, 1) - region)
        region += ink * (np.minimum(paint.ink * light, 1) - region)
        self._take(patch)

    def _take(self, patch: Patch) -> None:
        rows, columns, inner_rows, inner_columns = self._window(patch.top, patch.left, patch.solid.shape)
        inside = patch.solid[inner_rows, inner_columns]
        owners = self.owner[rows, columns]
        hidden = self._count_owners(owners[inside])
        owners[inside] = len(self.full_areas)
        self.visible_areas = [*(np.asarray(self.visible_areas, int) - hidden).tolist(), int(inside.sum())]
        self.full_areas.append(int(patch.solid.sum()))

    def _soft_edge(self, patch: Patch, paint: Paint) -> None:
        """A shadow down to the right of a body, or a glow around bare ink."""
        sigma = 0.6 + 0.035 * min(patch.layers.shape[:2])
        pad = int(np.ceil(2.5 * sigma))
        coverage = cv2.copyMakeBorder(
            np.maximum(patch.layers[..., 0], patch.layers[..., 1]), pad, pad, pad, pad, cv2.BORDER_CONSTANT
        )
        soft = cv2.GaussianBlur(coverage, (0, 0), sigma)[..., None]
        if paint.halo:
            soft, colour, strength, shift = np.minimum(soft * 1.8, 1), paint.body, paint.halo, 0
        else:
            colour, strength, shift = np.zeros(3, np.float32), paint.shadow, max(round(sigma), 1)
        edge = (patch.top - pad + shift, patch.left - pad + shift)
        rows, columns, inner_rows, inner_columns = self._window(*edge, soft.shape)
        region = self.image[rows, columns]
        region += np.float32(strength) * soft[inner_rows, inner_columns] * (colour - region)
