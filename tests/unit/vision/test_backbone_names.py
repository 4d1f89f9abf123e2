"""The names that a file is checked by are those that can be built."""

import pytest

from vision.backbone_names import FROM_TIMM, OWN, RESNETS, TORCHVISION, known_backbone, width_fault
from vision.backbones.classics import CLASSICS
from vision.backbones.plain import TIMM_NAMES, torchvision_names


def test_every_name_is_there_and_no_other() -> None:
    assert sorted(TORCHVISION) == sorted(torchvision_names())
    assert sorted(OWN) == sorted(CLASSICS)
    assert sorted(FROM_TIMM) == sorted(TIMM_NAMES)
    assert len({*TORCHVISION, *OWN, *FROM_TIMM}) == len((*TORCHVISION, *OWN, *FROM_TIMM))


@pytest.mark.parametrize("name", ["resnet18", "lenet5", "senet154", "timm:whatever"])
def test_a_known_name_is_let_through(name: str) -> None:
    assert known_backbone(name) == name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        pytest.param("resnet81", "there is no backbone 'resnet81'; nearest: resnet18", id="digits exchanged"),
        pytest.param("ResNet-18", "nearest: resnet18", id="as papers write it"),
        pytest.param(
            "faster_rcnn", "there is no backbone 'faster_rcnn'; `orchestrator zoo backbones`", id="no backbone"
        ),
    ],
)
def test_another_name_is_refused_with_the_nearest(name: str, words: str) -> None:
    with pytest.raises(ValueError, match="there is no backbone") as caught:
        known_backbone(name)
    assert words in str(caught.value)


def test_only_resnets_of_torchvision_have_a_width() -> None:
    assert all(width_fault(name, 0.5) is None for name in RESNETS)
    assert width_fault("vgg11", 1.0) is None
    assert "not for vgg11; leave it out" in (width_fault("vgg11", 0.5) or "")
