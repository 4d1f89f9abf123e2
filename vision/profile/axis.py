"""How far along one image axis a feature looks: exact arithmetic of Araujo et al. 2019. No tensors."""

from dataclasses import dataclass
from fractions import Fraction

Number = int | Fraction


@dataclass(frozen=True, slots=True)
class Axis:
    """Feature number i depends on the pixels from `first + i * stride` to `last + i * stride`, both included.

    Pixels below 0 and above the image's edge are padding. Source: Araujo et al. 2019, Distill,
    doi:10.23915/distill.00021; size = last - first + 1, effective padding = -first.
    """

    first: Number = 0
    last: Number = 0
    stride: Number = 1

    @property
    def size(self) -> int:
        """Pixels that one feature depends on."""
        return -int(-(self.last - self.first + 1) // 1)

    def window(self, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> "Axis":
        """Slide a convolution or pooling over the features."""
        first = self.first - padding * self.stride
        last = self.last + (dilation * (kernel - 1) - padding) * self.stride
        return Axis(first, last, self.stride * stride)

    def transposed(self, kernel: int, stride: int, padding: int, dilation: int = 1) -> "Axis":
        """Slide a transposed convolution; the union over its phases, exact where the stride divides the kernel."""
        step = Fraction(self.stride, stride)
        reach = dilation * (kernel - 1)
        return Axis(self.first + (padding - reach) * step, self.last + padding * step, _plain(step))

    def enlarged(self, factor: Fraction, neighbours: int = 0) -> "Axis":
        """Repeat or interpolate each feature `factor` times; the union over all phases.

        Args:
            factor: new features per old one; below 1 = fewer.
            neighbours: features to both sides that interpolation mixes in: 0 nearest, 1 bilinear, 2 bicubic.
        """
        step = self.stride / factor
        slack = self.stride - step if neighbours == 0 and factor > 1 else 0
        reach = neighbours * self.stride
        return Axis(_plain(self.first - slack - reach), _plain(self.last + reach), _plain(step))

    def moved(self, features: int) -> "Axis":
        """Take the feature at i + `features` for that at i: padding (negative) and cutting off."""
        return Axis(self.first + features * self.stride, self.last + features * self.stride, self.stride)

    def every(self, step: int) -> "Axis":
        """Keep every `step`-th feature."""
        return Axis(self.first, self.last, self.stride * step)

    def joined(self, other: "Axis") -> "Axis | None":
        """See what either sees; None if the two advance at different strides."""
        if self.stride != other.stride:
            return None
        return Axis(min(self.first, other.first), max(self.last, other.last), self.stride)


def _plain(value: Number) -> Number:
    """Return whole fractions as integers."""
    return int(value) if value == int(value) else value
