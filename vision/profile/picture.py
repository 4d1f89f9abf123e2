"""The picture of a receptive field: how it grows from layer to layer, and how large it is upon the image."""

from itertools import pairwise
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from foundation.errors import ConfigError, DataError
from vision.profile.layers import Layer
from vision.profile.profile import Profile
from vision.profile.receptive_field import ReceptiveField, StageField

SIZE = (11.0, 5.2)
DPI = 130
COLOURS = ("#9ecae1", "#6baed6", "#3f8fc5", "#1f6fb0", "#0d4f8b", "#08306b")
INK, GREY, LIGHT, RED = "#1f2937", "#6b7280", "#e5e7eb", "#b23a48"


def draw_receptive_field(profile: Profile, path: Path) -> None:
    """Draw how the receptive field grows by layer, and the field of each stage upon the image.

    Layers from which on the whole image is seen as well (squeeze and excitation, attention) are shaded. Where rows and
    columns differ, the curve shows the larger side.

    Raises:
        ConfigError: if no layer has a receptive field to draw.
        DataError: if the file cannot be written.
    """
    layers = _drawable(profile.layers)
    if not layers:
        raise ConfigError(f"{profile.name} has no map of positions, so there is no receptive field to draw.")
    figure = Figure(figsize=SIZE, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1.0))
    height, width = profile.image_size
    figure.suptitle(
        f"Receptive field of {profile.name}, images of {height} x {width}",
        x=0.012,
        ha="left",
        fontsize=13,
        fontweight="bold",
        color=INK,
    )
    _draw_growth(left, layers, profile)
    _draw_squares(right, profile)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=DPI, format="png")
    except OSError as error:
        raise DataError(
            f"cannot write the picture {path}: {error.strerror or error}; expected a folder that can be written. "
            "Choose another place, or mend its rights."
        ) from error


def _drawable(layers: list[Layer]) -> list[tuple[int, float, ReceptiveField]]:
    """Return (number of the layer, larger side, field) of the layers through which all data flows."""
    return [
        (number, max(layer.field.size), layer.field)
        for number, layer in enumerate(layers)
        if layer.meets and layer.field is not None and layer.field.size is not None
    ]


def _draw_growth(axes: Axes, layers: list[tuple[int, float, ReceptiveField]], profile: Profile) -> None:
    numbers = [number for number, _, _ in layers]
    sizes = [size for _, size, _ in layers]
    colours = _colours(profile.stages)
    for one, other in pairwise(layers):
        colour = colours.get(other[2].stride or (), GREY)
        axes.plot([one[0], other[0]], [one[1], other[1]], color=colour, linewidth=2.6, solid_capstyle="round")
    edge = max(profile.image_size)
    axes.axhline(edge, color=RED, linewidth=1.0, linestyle=(0, (4, 3)))
    axes.text(0.0, edge, f" image: {edge} px", color=RED, fontsize=8.5, va="bottom", ha="left")
    everywhere = next((number for number, _, field in layers if field.is_global), None)
    if everywhere is not None:
        axes.axvspan(everywhere, numbers[-1], color=LIGHT, alpha=0.55, linewidth=0, zorder=0)
        axes.text(
            everywhere,
            0.985,
            " sees all besides",
            transform=axes.get_xaxis_transform(),
            fontsize=8.5,
            color=GREY,
            va="top",
        )
    if profile.first_unknown is not None:
        axes.text(
            0.99,
            0.02,
            f"not followed from {profile.first_unknown[0]} on:\n{profile.first_unknown[1]}",
            transform=axes.transAxes,
            fontsize=8.5,
            color=RED,
            ha="right",
            va="bottom",
        )
    axes.set_ylim(0, max(*sizes, edge) * 1.1)
    axes.set_xlim(0, max(numbers[-1], 1))
    axes.set_xlabel("layer, in the order of the run")
    axes.set_ylabel("side of the field, pixels")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color=LIGHT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=0, colors=GREY)


def _draw_squares(axes: Axes, profile: Profile) -> None:
    height, width = profile.image_size
    axes.add_patch(
        Rectangle(
            (-width / 2, -height / 2),
            width,
            height,
            facecolor="#f3f4f6",
            edgecolor=RED,
            linewidth=1.2,
            linestyle=(0, (4, 3)),
            label=f"image: {height} x {width} px",
        )
    )
    colours = _colours(profile.stages)
    reach = max(height, width) / 2
    for stage in profile.stages:
        field = stage.field
        assert field.size is not None
        assert field.stride is not None
        rows, columns = field.size
        reach = max(reach, rows / 2, columns / 2)
        axes.add_patch(
            Rectangle(
                (-columns / 2, -rows / 2),
                columns,
                rows,
                fill=False,
                edgecolor=colours[field.stride],
                linewidth=2.0,
                label=f"stride {field.stride[0]:g}: {rows if rows == columns else f'{rows} x {columns}'} px",
            )
        )
    limit = reach * 1.05
    axes.set_xlim(-limit, limit)
    axes.set_ylim(limit, -limit)
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=2, frameon=False, fontsize=9, labelcolor=INK)


def _colours(stages: list[StageField]) -> dict[tuple[float, ...], str]:
    """Give each stride a colour, darker with depth; the deepest strides share the darkest."""
    return {stage.field.stride or (): COLOURS[min(index, len(COLOURS) - 1)] for index, stage in enumerate(stages)}
