"""Settings of an ensemble, as they stand in its bundle; a pipeline file has `kind: ensemble` instead. No torch."""

from typing import Annotated, Any, Literal

from pydantic import Field

from engine.settings import EnsembleMethod
from foundation.settings import FromList, StrictModel

ENSEMBLE = "ensemble"
"""The `name` that tells these settings from those of a single classifier."""


class EnsembleModelSettings(StrictModel):
    """Several trained classifiers that answer as one. Written by a stage of `kind: ensemble`, not by hand."""

    name: Literal["ensemble"]
    method: EnsembleMethod
    """How the members' answers become one; what was fitted for it lies with the weights."""
    members: Annotated[tuple[dict[str, Any], ...], FromList, Field(min_length=1)]
    """The `ClassificationSettings` of each member, as in its own bundle."""


def model_tag(value: Any) -> Literal["classifier", "ensemble"]:
    """Tell whether a `model`, given as plain values or as settings, is a single classifier or an ensemble.

    For pydantic's `Discriminator`: the names of classifiers are too many for a list.
    """
    name = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
    return "ensemble" if name == ENSEMBLE else "classifier"
