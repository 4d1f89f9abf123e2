"""A profile as text: a few lines of numbers, the receptive field by stage, and the table of layers."""

from typing import TYPE_CHECKING

from orchestrator.text_table import aligned, terminal_width

if TYPE_CHECKING:
    from vision.profile import Profile
    from vision.profile.layers import Layer
    from vision.profile.receptive_field import ReceptiveField

UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
LAYER_COLUMNS = ("layer", "kind", "output", "parameters", "MACs", "read", "written", "field", "stride")
STAGE_COLUMNS = ("stride", "size", "padding", "sees all", "up to layer")


def profile_text(profile: "Profile") -> str:
    """Return everything but the layers."""
    height, width = profile.image_size
    batch = "an image" if profile.batch_size == 1 else f"{profile.batch_size} images"
    lines = [
        ("parameters", _parameters(profile)),
        ("compute", f"{scaled(profile.macs)}MACs = {scaled(profile.flops)}FLOPs an image"),
        (
            "memory traffic",
            f"reads {scaled(profile.weight_bytes)}B weights + {scaled(profile.read_bytes)}B activations, writes "
            f"{scaled(profile.written_bytes)}B for {batch}; {profile.intensity:.1f} FLOPs a byte",
        ),
        ("training step", _training(profile)),
        ("receptive field", _field(profile)),
        ("latency", _latency(profile)),
    ]
    head = f"{profile.name} on images of 3x{height}x{width}, float32 unless said otherwise"
    body = "\n".join(f"{label:<17}{text}" for label, text in lines)
    stages = [[*_field_cells(stage.field), stage.layer] for stage in profile.stages]
    table = aligned(STAGE_COLUMNS, [[row[1], row[0], *row[2:]] for row in stages], terminal_width()) if stages else ""
    return f"{head}\n{body}" + (f"\n\nreceptive field by stage\n{table}" if table else "")


def layers_text(profile: "Profile") -> str:
    """Return the table of layers, one image; bytes read are weights and activations."""
    return aligned(LAYER_COLUMNS, [_layer_cells(layer) for layer in profile.layers], terminal_width())


def scaled(value: float) -> str:
    """Return a number to four digits with its unit's prefix, and the space before it: `4.089 G`."""
    for size, prefix in UNITS:
        if abs(value) >= size:
            return f"{value / size:.4g} {prefix}"
    return f"{value:.4g} "


def _parameters(profile: "Profile") -> str:
    idle = profile.idle_parameters
    text = f"{profile.parameters:,} ({scaled(4 * profile.parameters)}B)"
    return text + (f", {idle:,} of them only for training (auxiliary heads)" if idle else "")


def _training(profile: "Profile") -> str:
    training = profile.training
    if training is None:
        return "not known: the network does not train on tensors without memory"
    return (
        f"batch of {training.batch_size}: {scaled(training.activation_bytes)}B activations are kept, at most "
        f"{scaled(training.peak_bytes)}B are held at once beside {scaled(training.weight_bytes)}B of weights"
    )


def _field(profile: "Profile") -> str:
    last, first_global, first_unknown = profile.last_map, profile.first_global, profile.first_unknown
    window = ""
    if last is not None and last.field.size and last.field.stride:
        window = f"{_times(last.field.size)} pixels, stride {_times(last.field.stride)}, at {last.layer}"
    if first_unknown is not None:
        before = f"; before that {window}" if window else ""
        return f"not followed from {first_unknown[0]} on ({first_unknown[1]}){before}"
    if first_global is not None:
        return f"the whole image, from {first_global[0]} on ({first_global[1]}); windows of {window}"
    return window or "the network has no map of positions"


def _latency(profile: "Profile") -> str:
    clock = profile.latency
    if clock is None:
        return "not measured"
    return (
        f"median {clock.median_ms:.4g} ms for a batch of {clock.batch_size} ({clock.images_per_s:.4g} images/s; "
        f"{clock.repeats} runs, {clock.fastest_ms:.4g} to {clock.slowest_ms:.4g} ms; {clock.precision}, "
        f"{clock.device}, {clock.threads} {'thread' if clock.threads == 1 else 'threads'})"
    )


def _layer_cells(layer: "Layer") -> list[str]:
    size, stride = _field_cells(layer.field)[:2] if layer.field else ("", "")
    return [
        layer.path,
        layer.kind,
        "x".join(map(str, layer.output_shape[1:])),
        f"{layer.parameters:,}" if layer.parameters else "",
        f"{scaled(layer.macs)}".strip() if layer.macs else "",
        f"{scaled(layer.weight_bytes + layer.read_bytes)}B",
        f"{scaled(layer.written_bytes)}B",
        size,
        stride,
    ]


def _field_cells(field: "ReceptiveField") -> list[str]:
    """Return size, stride, padding, and whether the whole image is seen."""
    if field.size is None or field.stride is None or field.padding is None:
        return ["?" if field.unknown and not field.is_global else "all", "", "", "yes" if field.is_global else ""]
    size = _times(field.size) + (" + all" if field.is_global else "")
    return [size, _times(field.stride), _times(field.padding), "yes" if field.is_global else ""]


def _times(pair: tuple[float, float]) -> str:
    """Return `32`, or `32x16` where rows and columns differ."""
    return f"{pair[0]:g}" if pair[0] == pair[1] else f"{pair[0]:g}x{pair[1]:g}"
