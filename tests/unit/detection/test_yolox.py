"""YOLOX: official names, shapes and outputs; its losses; the detector around the network."""

import hashlib
import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from detection.models import build_model, yolox
from detection.models.yolox import build_network
from detection.settings import DetectionSettings, YoloModel, YoloxModel
from foundation.errors import ConfigError, WeightsError

RECORDED_OUTPUTS = Path(__file__).with_name("yolox_outputs.json")


def make_detector(num_classes=3, **model):
    settings = DetectionSettings(model=YoloxModel(name="yolox", **model))
    return build_model(settings, num_classes)


def make_targets(*boxes_per_image):
    return [
        {
            "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            "labels": torch.arange(len(boxes)) % 3,
        }
        for boxes in boxes_per_image
    ]


def fill_with_waves(network: nn.Module, images: torch.Tensor) -> None:
    """Give every tensor values that need no random generator, and batch statistics that fit them."""
    for index, (name, parameter) in enumerate(network.named_parameters()):
        wave = torch.sin(torch.arange(parameter.numel()) * (0.37 + 0.01 * index) + index).view_as(parameter)
        is_norm_weight = parameter.ndim == 1 and name.endswith("bn.weight")
        scale = parameter[0].numel() ** -0.5 if parameter.ndim == 4 else 0.2
        parameter.data = 1 + scale * wave if is_norm_weight else scale * wave
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(images)
    for norm in norms:
        norm.momentum = 0.03
    network.eval()


def wave_images() -> torch.Tensor:
    return (127.5 + 127.5 * torch.sin(torch.arange(2 * 3 * 64 * 96) * 0.731)).round().view(2, 3, 64, 96)


@pytest.mark.parametrize(
    ("size", "num_parameters", "sha256"),
    [
        pytest.param(
            "nano", 912159, "54702fae13cf02fbc73844816e34307bea89419162897379d76c299b9f86052a", id="depthwise"
        ),
        pytest.param("s", 8968255, "b4529ebc24fbaeced41015f6565ffa3f59cc8912ad0fc82f8cf3d37284ab3463", id="plain"),
    ],
)
def test_names_and_shapes_are_the_official_ones_in_their_order(size, num_parameters, sha256):
    network = build_network(size, 80)
    listing = "\n".join(f"{name} {list(tensor.shape)}" for name, tensor in network.state_dict().items())
    assert hashlib.sha256(listing.encode()).hexdigest() == sha256
    assert sum(parameter.numel() for parameter in network.parameters()) == num_parameters


@pytest.mark.parametrize(
    ("size", "num_parameters"),
    [("tiny", 5055855), ("m", 25326495), ("l", 54208895), ("x", 99071455)],
)
def test_other_sizes_have_the_official_number_of_parameters(size, num_parameters):
    with torch.device("meta"):
        network = build_network(size, 80)
    assert sum(parameter.numel() for parameter in network.parameters()) == num_parameters


@pytest.mark.parametrize("size", ["nano", "s"])
def test_outputs_equal_an_independent_implementation(size):
    """The numbers were recorded from libreyolo 1.6.0 (MIT) holding the same weights."""
    images = wave_images()
    network = build_network(size, 4)
    fill_with_waves(network, images)
    recorded = json.loads(RECORDED_OUTPUTS.read_text())
    with torch.no_grad():
        outputs = network(images)
    assert outputs.shape == (2, 126, 9)
    torch.testing.assert_close(outputs[1, recorded["anchors"]], torch.tensor(recorded[size]), rtol=1e-3, atol=1e-3)


def test_batch_norm_has_the_official_constants():
    norms = {(m.eps, m.momentum) for m in build_network("nano", 1).modules() if isinstance(m, nn.BatchNorm2d)}
    assert norms == {(1e-3, 0.03)}


def test_an_untrained_head_says_one_percent():
    head = build_network("nano", 2).head
    expected = -math.log(0.99 / 0.01)
    for layer in (*head.cls_preds, *head.obj_preds):
        torch.testing.assert_close(layer.bias, torch.full_like(layer.bias, expected))


def test_detector_gives_the_network_bgr_pixels():
    detector = make_detector(size="nano", weights=None).eval()
    network = build_network("nano", 3).eval()
    network.load_state_dict(detector.state_dict())
    seen = {}
    network.backbone.register_forward_pre_hook(lambda module, args: seen.update(network=args[0]))
    detector.backbone.register_forward_pre_hook(lambda module, args: seen.update(detector=args[0]))
    bgr = torch.randint(0, 256, (1, 3, 64, 64)).float()
    with torch.no_grad():
        network(bgr)
        detector(bgr.flip(1) / 255)
    torch.testing.assert_close(seen["detector"], seen["network"])


@pytest.mark.parametrize(
    "targets",
    [
        pytest.param(make_targets([[8, 8, 40, 40], [30, 20, 60, 64]], [[0, 0, 64, 64]]), id="usual"),
        pytest.param(make_targets([], [[5, 5, 20, 30]]), id="one image without boxes"),
        pytest.param(make_targets([], []), id="no boxes at all"),
        pytest.param(make_targets([[10, 10, 10, 10]], [[3, 3, 4, 4]]), id="no area, and one pixel"),
    ],
)
def test_losses_and_gradients_are_finite(targets):
    detector = make_detector(size="nano", l1_loss=True)
    losses = detector(torch.rand(2, 3, 64, 64), targets)
    assert set(losses) == {"loss_box", "loss_obj", "loss_cls", "loss_l1"}
    sum(losses.values()).backward()
    assert all(torch.isfinite(value) for value in losses.values())
    assert all(torch.isfinite(p.grad).all() for p in detector.parameters())


def test_loss_falls_on_one_batch():
    torch.manual_seed(0)
    detector = make_detector(size="nano")
    optimizer = torch.optim.AdamW(detector.parameters(), lr=2e-3)
    images, targets = torch.rand(2, 3, 64, 64), make_targets([[8, 8, 40, 40]], [[20, 10, 60, 50]])
    totals = []
    for _ in range(30):
        total = sum(detector(images, targets).values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.7 * totals[0]


def test_weights_for_other_classes_load_all_but_the_head(tmp_path):
    official = build_network("nano", 80)
    torch.save({"model": official.state_dict(), "start_epoch": 300}, tmp_path / "yolox_nano.pth")
    detector = make_detector(size="nano", weights=f"file:{tmp_path / 'yolox_nano.pth'}")
    ours, theirs = detector.state_dict(), official.state_dict()
    kept = {name for name in ours if torch.equal(ours[name], theirs[name])}
    assert set(ours) - kept == {f"head.cls_preds.{level}.{kind}" for level in range(3) for kind in ("weight", "bias")}


def test_weights_of_another_size_are_refused(tmp_path):
    torch.save(build_network("tiny", 3).state_dict(), tmp_path / "tiny.pth")
    with pytest.raises(WeightsError, match=r"stem\.conv"):
        make_detector(size="nano", weights=str(tmp_path / "tiny.pth"))


def test_unknown_size_names_the_known_ones():
    with pytest.raises(ConfigError, match="nano, tiny, s, m, l, x"):
        build_network("xxl", 80)


def test_settings_of_another_model_are_refused():
    with pytest.raises(ConfigError, match=r"model\.name"):
        yolox.build(DetectionSettings(model=YoloModel(name="yolo")), 3)
