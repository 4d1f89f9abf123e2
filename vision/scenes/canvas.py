"""The picture being painted: colours, and which object owns each pixel, so that occlusion is known exactly."""

import cv2
import numpy as np

from vision.scenes.sprites import SOLID, Paint, Patch

NOBODY = -1


class Canvas:
    """A background on which patches are painted one over the other."""

    def __init__(self, background: np.ndarray) -> None:
        """Start with a background, (H, W, 3) float32 RGB in [0, 1]; it is painted over."""
        self.image = background
        self.owner = np.full(background.shape[:2], NOBODY, np.int16)
        self.full_areas: list[int] = []
        """Pixels of each painted object as if nothing hid it, outside the picture too."""

    def window(self, patch: Patch) -> tuple[slice, slice, slice, slice]:
        """Where a patch lies: rows and columns of the picture, then rows and columns of the patch."""
        height, width = self.owner.shape
        patch_height, patch_width = patch.layers.shape[:2]
        top, bottom = np.clip((patch.top, patch.top + patch_height), 0, height)
        left, right = np.clip((patch.left, patch.left + patch_width), 0, width)
        inner_rows = slice(top - patch.top, bottom - patch.top)
        inner_columns = slice(left - patch.left, right - patch.left)
        return slice(top, bottom), slice(left, right), inner_rows, inner_columns

    def visible_areas(self) -> np.ndarray:
        """(N,) int64, pixels of each painted object that can be seen now."""
        return np.bincount(self.owner[self.owner != NOBODY], minlength=len(self.full_areas))

    def visible_shares_after(self, patch: Patch) -> tuple[float, np.ndarray]:
        """Foresee what painting a patch would leave: the patch's own visible share, and the (N,) others'."""
        rows, columns, inner_rows, inner_columns = self.window(patch)
        solid = patch.solid
        inside = solid[inner_rows, inner_columns]
        hidden_owners = self.owner[rows, columns][inside]
        hidden = np.bincount(hidden_owners[hidden_owners != NOBODY], minlength=len(self.full_areas))
        others = (self.visible_areas() - hidden) / np.maximum(self.full_areas, 1)
        return float(inside.sum() / max(solid.sum(), 1)), others

    def background_under(self, patch: Patch) -> np.ndarray:
        """(3,) mean RGB of what a patch would cover; mid grey where it lies outside."""
        rows, columns, _, _ = self.window(patch)
        region = self.image[rows, columns].reshape(-1, 3)
        return region.mean(axis=0) if len(region) else np.full(3, 0.5, np.float32)

    def paint(self, patch: Patch, paint: Paint) -> None:
        """Paint a patch over everything, shadow or halo first, and take its pixels into possession."""
        self._soft_edge(patch, paint)
        rows, columns, inner_rows, inner_columns = self.window(patch)
        region = self.image[rows, columns]
        ink, body, trim = (patch.layers[inner_rows, inner_columns, i, None] for i in range(3))
        # Light falls from above: the body is a little brighter at its top than at its foot.
        height = patch.layers.shape[0]
        light = np.linspace(1.06, 0.92, height, dtype=np.float32)[inner_rows, None, None]
        region += body * (np.minimum(paint.body * light, 1) - region)
        region += trim * (np.minimum(paint.trim * light, 1) - region)
        region += ink * (np.minimum(paint.ink * light, 1) - region)
        solid = patch.solid
        self.owner[rows, columns][solid[inner_rows, inner_columns]] = len(self.full_areas)
        self.full_areas.append(int(solid.sum()))

    def _soft_edge(self, patch: Patch, paint: Paint) -> None:
        """A shadow down to the right of a body, or a glow around bare ink."""
        sigma = 0.6 + 0.035 * min(patch.layers.shape[:2])
        pad = int(np.ceil(2.5 * sigma))
        coverage = cv2.copyMakeBorder(patch.layers[..., :2].max(axis=-1), pad, pad, pad, pad, cv2.BORDER_CONSTANT)
        soft = cv2.GaussianBlur(coverage, (0, 0), sigma)[..., None]
        if paint.halo:
            soft, colour, strength, shift = np.minimum(soft * 1.8, 1), paint.body, paint.halo, 0
        else:
            colour, strength, shift = np.zeros(3, np.float32), paint.shadow, max(round(sigma), 1)
        edge = Patch(soft, patch.top - pad + shift, patch.left - pad + shift)
        rows, columns, inner_rows, inner_columns = self.window(edge)
        region = self.image[rows, columns]
        region += np.float32(strength) * soft[inner_rows, inner_columns] * (colour - region)
