"""Settings of looking at an image more than once: in tiles, in several sizes, and mirrored. No torch."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from foundation.settings import FromList, Probability, Size, StrictModel


class TiledView(StrictModel):
    """Small objects in large images: evaluation and prediction look at overlapping tiles and join what they find."""

    tile_size: Size
    """(height, width) in pixels of the image; each tile is letterboxed to `image_size`, which may be larger."""
    overlap: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    """Share of its side that a tile has in common with the next one; best no less than the objects' size."""
    full_frame: bool = True
    """Look at the whole image too, for objects larger than a tile."""
    merge: Literal["nms", "nmm", "wbf"] = "nms"
    """Of overlapping finds of one class: nms = the best one stays, and one that a tile's edge may have cut gives way to
    one that is whole and at least half as sure; nmm = and grows to hold the others at least half as sure, for objects
    that no window shows as a whole; wbf = their average weighted by score (Solovyev et al. 2019, arXiv:1910.13302)."""
    iou_threshold: Probability = 0.5
    """Finds overlap if their `measure` is greater."""
    measure: Literal["iou", "ios"] | None = None
    """iou = intersection over union, too small between an object and the part of it that a tile's edge left over; ios =
    over the smaller box, which joins these, but also an object with a larger one of its class around it. Null = ios
    for nms and nmm; wbf goes by iou."""
    batch_size: PositiveInt = 16
    """Tiles that go through the model at once in evaluation and prediction."""

    @model_validator(mode="after")
    def _measure_has_an_effect(self) -> "TiledView":
        if self.merge == "wbf" and self.measure == "ios":
            raise ValueError("`measure: ios` has no effect with `merge: wbf`, which averages by IoU; leave it out")
        return self


class TilingSettings(TiledView):
    """Tiles in evaluation and prediction, and where asked for in training."""

    train: bool = False
    """Train on tiles too: each is a sample of its own, with more tiles around objects that the edges would cut, and
    with `full_frame` the whole images. `augment.min_visibility` says how much of an object makes it count."""


class PassSettings(StrictModel):
    """Several passes over each image, or tile, in evaluation and prediction, joined into one answer."""

    scales: Annotated[tuple[PositiveFloat, ...], FromList, Field(min_length=1)] = (1.0,)
    """One pass per factor of `image_size`, rounded to multiples of 32 other than for 1.0."""
    flip: bool = False
    """Also the mirror image, at every scale."""
    merge: Literal["nms", "nmm", "wbf"] = "wbf"
    """As in `tiling`; with wbf, what fewer passes found counts less."""
    iou_threshold: Probability = 0.55
    """Finds overlap if their IoU is greater."""

    @property
    def num_passes(self) -> int:
        """How often the model looks at the same pixels."""
        return len(self.scales) * (1 + self.flip)

    @model_validator(mode="after")
    def _keys_have_an_effect(self) -> "PassSettings":
        if len(set(self.scales)) < len(self.scales):
            raise ValueError(f"`scales` {list(self.scales)} names one twice; every pass should see something else")
        unused = [name for name in ("merge", "iou_threshold") if getattr(self, name) != _default(name)]
        if self.num_passes == 1 and unused:
            raise ValueError(
                f"`{'`, `'.join(unused)}` has no effect with a single pass; give more `scales`, `flip: true`, or leave "
                "it out"
            )
        return self


def _default(name: str) -> object:
    return PassSettings.model_fields[name].default


class EvaluationSettings(StrictModel):
    """What an `evaluate` stage may put in the place of the settings that the model was trained with."""

    tiling: TiledView | None = None
    """As in training, but for `train`; null = each image as a whole."""
    test_time: PassSettings = PassSettings()
    """As in training."""
    max_detections: PositiveInt = 100
    """As in training."""
