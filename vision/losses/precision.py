"""Losses are computed in float32, whatever precision the network runs in."""

import torch
from torch import Tensor


def without_autocast(tensor: Tensor) -> torch.autocast:
    """A context in which autocast leaves operations on this tensor's device alone.

    Under autocast a matrix product of float32 tensors is computed in 16 bits: cosines would have two digits.
    """
    return torch.autocast(tensor.device.type, enabled=False)
