"""Mixed precision: which dtype the forward pass runs in, and the gradient scaler that fp16 needs."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from foundation.errors import ConfigError


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bf16 in hardware (AVX512-BF16 or AMX)."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return False
    flags = cpuinfo.read_text(errors="replace")
    return "avx512_bf16" in flags or "amx_bf16" in flags


@dataclass(frozen=True)
class Precision:
    """A resolved precision for one device."""

    name: str
    device: torch.device

    def autocast(self) -> AbstractContextManager:
        """Context of the forward pass and the losses."""
        if self.name == "fp32":
            return nullcontext()
        dtype = torch.bfloat16 if self.name == "bf16" else torch.float16
        return torch.autocast(self.device.type, dtype=dtype, cache_enabled=True)

    def scaler(self) -> torch.amp.GradScaler:
        """A gradient scaler; passes everything through unless the precision is fp16."""
        return torch.amp.GradScaler(self.device.type, enabled=self.name == "fp16")


def resolve_precision(name: str, device: torch.device) -> Precision:
    """Turn `auto` into what the device does well.

    Raises:
        ConfigError: for fp16 on a CPU.
    """
    if name == "fp16" and device.type != "cuda":
        raise ConfigError("loop.precision: fp16 needs a GPU, and this worker runs on the CPU. Use auto, bf16 or fp32.")
    if name == "auto":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else cpu_has_bf16()
        name = "bf16" if has_bf16 else "fp32"
    return Precision(name, device)


def to_unit_range(images: Tensor) -> Tensor:
    """Turn uint8 images into [0, 1] in the dtype that the forward pass computes in."""
    device = images.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
    return images.to(dtype) / 255
