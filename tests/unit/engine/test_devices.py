"""Which device and precision a worker gets; the GPU is only imagined."""

import pytest
import torch

from engine.distributed import default_device
from engine.precision import resolve_precision
from foundation.errors import ConfigError


@pytest.mark.parametrize(
    ("use_gpu", "has_gpu", "expected"),
    [
        pytest.param("auto", False, "cpu", id="auto without"),
        pytest.param("auto", True, "cuda:1", id="auto with"),
        pytest.param(True, True, "cuda:1", id="asked for and there"),
        pytest.param(False, True, "cpu", id="there and not wanted"),
    ],
)
def test_default_device(use_gpu: bool | str, has_gpu: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    assert str(default_device(use_gpu, local_rank=1)) == expected


def test_a_gpu_asked_for_where_there_is_none_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="use_gpu"):
        default_device(True)


@pytest.mark.parametrize(("in_hardware", "expected"), [(True, "bf16"), (False, "fp32")])
def test_auto_takes_bf16_only_where_the_gpu_has_it_in_hardware(
    in_hardware: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or in_hardware
    )
    assert resolve_precision("auto", torch.device("cuda", 0)).name == expected
