"""The picture of a receptive field is drawn, and what cannot be drawn is said."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from foundation.errors import ConfigError, DataError
from vision.profile import profile_network
from vision.profile.picture import draw_receptive_field


def profile(network: nn.Module):
    return profile_network(lambda: network, name="network", image_size=(32, 32), batch_size=1)


def convolutions() -> nn.Module:
    with torch.device("meta"):
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, 2, 1)
        )


def test_the_picture_has_ink_on_both_sides(tmp_path):
    path = tmp_path / "new" / "field.png"
    draw_receptive_field(profile(convolutions()), path)
    pixels = np.asarray(Image.open(path).convert("L"))
    half = pixels.shape[1] // 2
    assert (pixels[:, :half] < 128).sum() > 500
    assert (pixels[:, half:] < 200).sum() > 500


def test_a_network_without_a_map_has_no_picture(tmp_path):
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2)).to("meta")
    with pytest.raises(ConfigError, match="no receptive field to draw"):
        draw_receptive_field(profile(network), tmp_path / "field.png")


def test_a_place_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write the picture"):
        draw_receptive_field(profile(convolutions()), tmp_path / "file" / "field.png")
