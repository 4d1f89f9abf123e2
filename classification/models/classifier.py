"""A network with what turns it into a classifier that trains: normalisation, embedding, head and losses.

Shapes: B images, K classes, D numbers in an embedding.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vision.backbones.auxiliary import WithAuxiliary
from vision.losses.build import LossParts
from vision.losses.distillation import distillation_loss
from vision.losses.metric_learning import PairTerm

Channels = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Distillation:
    """How much a teacher's answers count."""

    temperature: float
    alpha: float
    """Share of the teacher; the labels have the rest."""


class Classifier(nn.Module):
    """Maps images to losses (train mode) or probabilities (eval mode).

    The state dict holds the network's own names below `network.`, so that its trunk can serve elsewhere.

    Args:
        network: images (B, 3, H, W), normalised -> logits (B, K), or embeddings (B, D) where there is a `head`.
        head: (embeddings, labels | None) -> logits; None = the network has its own.
        embedding: between network and head; None = nothing.
        parts: what the loss is made of.
        mean: subtracted from each channel in [0, 1] …
        std: … before the rest is divided by it.
        stages: names of `network`'s parameters by depth, stem first; what is in none of them belongs to the head.
        distillation: of a teacher's answers, which then come with the targets.
        notes: what a user should hear at the start of a training.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        parts: LossParts,
        *,
        head: nn.Module | None = None,
        embedding: nn.Module | None = None,
        mean: Channels = (0.0, 0.0, 0.0),
        std: Channels = (1.0, 1.0, 1.0),
        stages: tuple[tuple[str, ...], ...] = (),
        distillation: Distillation | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.network, self.embedding, self.head = network, embedding, head
        self.per_sample, self.extra, self.extra_name = parts.per_sample, parts.extra, parts.extra_name
        self.terms_over_ranks: tuple[str, ...] = (parts.extra_name,) if isinstance(parts.extra, PairTerm) else ()
        self.distillation, self.notes, self.stages = distillation, notes, stages
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))

    def forward(self, images: Tensor, targets: dict[str, Tensor] | None = None) -> Tensor | dict[str, Tensor]:
        """Classify.

        Args:
            images: (B, 3, H, W) float RGB in [0, 1].
            targets: in training `labels` (B,) int64; where images are mixed `other_labels` (B,) and `mix` (B,), the
                share of `labels`; where there is a teacher its probabilities `teacher` (B, K).

        Returns:
            In training loss terms as scalars, means over these images; else (B, K) float32 probabilities.
        """
        output = self.network((images - self.mean) / self.std)
        if not self.training:
            return self._logits(self._embed(output)).float().softmax(dim=1)
        if targets is None:
            raise ValueError("a classifier in training mode needs targets")
        auxiliary: list[Tensor] = []
        if isinstance(output, WithAuxiliary):
            output, auxiliary = output
        return self._losses(self._embed(output), auxiliary, targets)

    def parameter_stages(self) -> list[list[nn.Parameter]]:
        """Return all parameters by depth, the stem's first and the head's last."""
        named = dict(self.network.named_parameters())
        found = [[named.pop(name) for name in names if name in named] for names in self.stages]
        in_stages = {id(parameter) for stage in found for parameter in stage}
        head = [parameter for parameter in self.parameters() if id(parameter) not in in_stages]
        return [*(stage for stage in found if stage), head]

    def _embed(self, output: Tensor) -> Tensor:
        return output if self.embedding is None else self.embedding(output)

    def _logits(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        return features if self.head is None else self.head(features, labels)

    def _losses(self, features: Tensor, auxiliary: list[Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        losses = {"loss_cls": self._label_loss(features, targets)}
        if auxiliary:
            weight: float = self.network.AUXILIARY_WEIGHT  # type: ignore[assignment]
            terms = [self._mixed(logits, logits, targets) for logits in auxiliary]
            losses["loss_aux"] = weight * torch.stack(terms).sum()
        if self.extra is not None:
            losses[self.extra_name] = self.extra(features, targets["labels"])
        if self.distillation is None:
            return losses
        alpha, temperature = self.distillation.alpha, self.distillation.temperature
        student = self._logits(features).float()
        taught = distillation_loss(student, targets["teacher"], temperature).mean()
        learned = {name: value * (1 - alpha) for name, value in losses.items()}
        return {**learned, "loss_distill": alpha * taught}

    def _label_loss(self, features: Tensor, targets: dict[str, Tensor]) -> Tensor:
        if "mix" not in targets:
            logits = self._logits(features, targets["labels"])
            return self._mixed(logits, logits, targets)
        if self.head is None:
            return self._mixed(features, features, targets)
        # One call for both labels, because a margin head counts its calls.
        both = torch.cat([targets["labels"], targets["other_labels"]])
        first, second = self._logits(torch.cat([features, features]), both).chunk(2)
        return self._mixed(first, second, targets)

    def _mixed(self, logits: Tensor, other_logits: Tensor, targets: dict[str, Tensor]) -> Tensor:
        """Mean over the images of the loss of both their labels, each by its share."""
        loss: Tensor = self.per_sample(logits.float(), targets["labels"])
        if "mix" in targets:
            other = self.per_sample(other_logits.float(), targets["other_labels"])
            loss = targets["mix"] * loss + (1 - targets["mix"]) * other
        return loss.mean()


class LinearHead(nn.Module):
    """The last linear layer, with the call of a margin head."""

    def __init__(self, embedding_size: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(embedding_size, num_classes)

    def forward(self, embeddings: Tensor, labels: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Turn (B, D) into logits (B, K), whatever the labels."""
        logits: Tensor = self.linear(embeddings)
        return logits
