"""Settings of a sweep, as they stand in a stage of `kind: tune`: space, search and scheduler. No torch, no Ray."""

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, PositiveFloat, PositiveInt, Tag, model_validator

from foundation.settings import FromList, StrictModel, default_name
from orchestrator.pipeline.problems import listed, nearest

Bounds = Annotated[tuple[float, float], FromList]
WholeBounds = Annotated[tuple[int, int], FromList]
Choices = Annotated[tuple[Any, ...], FromList, Field(min_length=1)]


class DomainBase(StrictModel):
    """What every searched key has besides the values that it may take."""

    when: dict[str, Any] = {}
    """Search this key only where other searched keys have these values; a list = any of them."""


class UniformDomain(DomainBase):
    """A number between two others, all equally likely."""

    uniform: Bounds
    """[smallest, largest]."""


class LogUniformDomain(DomainBase):
    """A positive number between two others, all orders of magnitude equally likely."""

    loguniform: Bounds
    """[smallest, largest]."""


class IntegersDomain(DomainBase):
    """A whole number between two others, both included."""

    integers: WholeBounds
    """[smallest, largest]."""


class LogIntegersDomain(DomainBase):
    """A positive whole number between two others, both included, small ones as likely as their logarithm is wide."""

    logintegers: WholeBounds
    """[smallest, largest]."""


class ChoiceDomain(DomainBase):
    """One of some values, of any kind."""

    choice: Choices
    """The values."""


KINDS = ("uniform", "loguniform", "integers", "logintegers", "choice")
LOGARITHMIC = ("loguniform", "logintegers")
WHOLE = ("integers", "logintegers")


def domain_kind(value: Any) -> str:
    """Return which of `KINDS` a domain is of, given as settings or plain values; of none or several the first."""
    keys = value if isinstance(value, dict) else type(value).model_fields
    return next((kind for kind in KINDS if kind in keys), KINDS[-1])


def _of_one_kind(value: Any) -> Any:
    """Refuse what says of no kind, or of several, which values a key may take."""
    if isinstance(value, DomainBase):
        return value
    if not isinstance(value, dict):
        raise ValueError(f"expected a mapping such as {{loguniform: [1.0e-4, 0.1]}}, got {value!r}")
    given = [key for key in value if key in KINDS]
    if len(given) > 1:
        raise ValueError(f"{listed(given, 'and')} stand side by side; a key takes its values from one of them")
    if not given:
        others = [str(key) for key in value if key != "when"]
        wrong = f"unknown kind of values {others[0]!r}" if others else "it does not say which values"
        hint = nearest(others[0].replace("_", ""), KINDS) if others else ""
        raise ValueError(f"{wrong}; expected {listed(KINDS)}{hint}")
    return value


Domain = Annotated[
    Annotated[UniformDomain, Tag("uniform")]
    | Annotated[LogUniformDomain, Tag("loguniform")]
    | Annotated[IntegersDomain, Tag("integers")]
    | Annotated[LogIntegersDomain, Tag("logintegers")]
    | Annotated[ChoiceDomain, Tag("choice")],
    Discriminator(domain_kind),
    BeforeValidator(_of_one_kind),
]
"""The values of one searched key."""


class RandomSearch(StrictModel):
    """Every trial drawn independently of the others."""

    name: Literal["random"] = "random"
    """How the values of the next trial are found."""


class GridSearch(StrictModel):
    """Every combination of the choices, in the order in which they stand; `num_samples` does not count."""

    name: Literal["grid"]


class BayesSearch(StrictModel):
    """Learn from finished trials where good values lie, with Optuna; several metrics are weighed against each other."""

    name: Literal["bayes"]
    sampler: Literal["tpe", "gp"] = "tpe"
    """tpe = tree of Parzen estimators (Bergstra et al. 2011); gp = Gaussian process, for few and unconditional keys."""
    startup: PositiveInt = 8
    """So many trials are drawn at random before anything is learned from them."""


class BisectSearch(StrictModel):
    """Narrow one numeric key down, trial after trial."""

    name: Literal["bisect"]
    target: float | None = None
    """null = golden section for the best value of a metric with one peak; a number = halve the range to where a metric
    that only rises or only falls crosses it."""
    tolerance: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.02
    """Stop when the bracket is this share of the range (of its logarithm for logarithmic ones)."""


class ManualSearch(StrictModel):
    """Trials that were picked by hand; more can be added from another terminal with `orchestrator tune add`."""

    name: Literal["manual"]
    trials: Annotated[tuple[dict[str, Any], ...], FromList] = ()
    """The values of each trial, by key."""
    wait: bool = False
    """Wait for `tune add` when all trials are done, until `orchestrator tune stop` ends the sweep."""


class PopulationSearch(StrictModel):
    """`num_samples` trials are trained at the same pace; the worst take over the weights of the best, with changed
    values."""

    every_epochs: PositiveInt = 1
    """Epochs between two exchanges."""
    quantile: Annotated[float, Field(gt=0.0, le=0.5)] = 0.25
    """This share of the population, the worst, copies from the best of the same share."""


class PbtSearch(PopulationSearch):
    """Population based training (Jaderberg et al. 2017, arXiv:1711.09846): values change at random."""

    name: Literal["pbt"]
    """How the values of the next trial are found."""
    resample: Annotated[float, Field(ge=0.0, le=1.0)] = 0.25
    """How likely a value is drawn anew instead of being multiplied by 0.8 or 1.2."""


class Pb2Search(PopulationSearch):
    """Population based bandits (Parker-Holder et al. 2020, arXiv:2002.02518): numbers change to where a Gaussian
    process over epochs and values expects most; choices change as in `pbt`. For small populations."""

    name: Literal["pb2"]
    """How the values of the next trial are found."""


POPULATIONS = ("pbt", "pb2")
"""Searches in which trials take over each other's weights."""


SearchSettings = Annotated[
    Annotated[
        RandomSearch | GridSearch | BayesSearch | BisectSearch | ManualSearch | PbtSearch | Pb2Search,
        Discriminator("name"),
    ],
    default_name("random"),
]
"""How values are found, by `name`."""


class NoScheduler(StrictModel):
    """Every trial is trained to its end."""

    name: Literal["none"] = "none"
    """Which rule stops trials before their end."""


class AshaScheduler(StrictModel):
    """Asynchronous successive halving (Li et al. 2020, arXiv:1810.05934)."""

    name: Literal["asha"]
    grace_epochs: PositiveInt = 1
    """No trial is stopped before so many epochs."""
    reduction_factor: Annotated[float, Field(gt=1.0)] = 3.0
    """One of so many trials passes each rung; rungs lie at the grace epochs times its powers."""


class MedianScheduler(StrictModel):
    """Stop a trial whose best is below the median of the others' running averages (Golovin et al. 2017)."""

    name: Literal["median"]
    grace_epochs: PositiveInt = 1
    """No trial is stopped before so many epochs."""
    min_trials: PositiveInt = 3
    """Nor before so many others have come as far."""


class HyperbandScheduler(StrictModel):
    """HyperBand (Li et al. 2018, arXiv:1603.06560): brackets that trade many short trials against few long ones. With
    `search: {name: bayes}` it is BOHB's idea (Falkner et al. 2018, arXiv:1807.01774), with Optuna's estimator."""

    name: Literal["hyperband"]
    reduction_factor: Annotated[float, Field(gt=1.0)] = 3.0
    """One of so many trials passes each halving of a bracket."""


SchedulerSettings = Annotated[
    Annotated[NoScheduler | AshaScheduler | MedianScheduler | HyperbandScheduler, Discriminator("name")],
    default_name("none"),
]
"""The rule that stops bad trials early, by `name`."""

Mode = Literal["max", "min"]
Metrics = str | Annotated[tuple[str, ...], FromList, Field(min_length=1)]
Modes = Mode | Annotated[tuple[Mode, ...], FromList, Field(min_length=1)]

COSTS = ("latency_ms", "parameters", "train_s")
"""What a trial costs, besides the metrics of its task: milliseconds for one image, weights, seconds of training."""


class SweepSettings(StrictModel):
    """What a stage of `kind: tune` has besides its base: what is searched, for which metric, how, and how long."""

    metric: Metrics | None = None
    """A validation metric of the base; null = the task's main one. A list weighs several against each other, of which
    all but the first may be costs: latency_ms, parameters, train_s."""
    mode: Modes | None = None
    """max or min, for each metric; null = as the metric is meant."""
    search: SearchSettings = RandomSearch()
    """How the values of the next trial are found."""
    scheduler: SchedulerSettings = NoScheduler()
    """Which rule stops bad trials early."""
    num_samples: PositiveInt = 16
    """Trials in all, those added by hand not counted."""
    max_concurrent: PositiveInt | None = None
    """Trials at the same time; null = as many as the cluster has room for."""
    time_budget_s: PositiveFloat | None = None
    """No trial starts after so many seconds of search; those that run are stopped, and count as they stand."""
    space: dict[str, Domain] = {}
    """Which keys of the base are searched, such as `loop.optimizer.lr`, and the values that each may take."""

    @model_validator(mode="after")
    def _goals_fit(self) -> "SweepSettings":
        metrics, modes = _listed(self.metric), _listed(self.mode)
        if modes and len(modes) != max(1, len(metrics)):
            raise ValueError(f"`mode` has {len(modes)} entries and `metric` {max(1, len(metrics))}; give one for each")
        if len(set(metrics)) < len(metrics):
            raise ValueError(f"`metric` names {_repeated(metrics)!r} twice")
        if metrics and metrics[0] in COSTS:
            raise ValueError(f"`metric` begins with the cost {metrics[0]!r}; the first one must be a validation metric")
        if len(metrics) > 1 and (self.search.name, self.scheduler.name) not in (("bayes", "none"), ("random", "none")):
            raise ValueError(
                "several metrics need `search: {name: bayes}` or `{name: random}`, and no scheduler: it would not know "
                "which of two trials is the worse"
            )
        return self

    @model_validator(mode="after")
    def _parts_fit(self) -> "SweepSettings":
        name, scheduler = self.search.name, self.scheduler.name
        if name in (*POPULATIONS, "bisect", "manual") and scheduler != "none":
            raise ValueError(f"`search: {name}` goes by whole trials; leave `scheduler: {scheduler}` out")
        if isinstance(self.search, GridSearch | ManualSearch) and "num_samples" in self.model_fields_set:
            raise ValueError(f"`num_samples` has no effect with `search: {name}`, which says itself what is tried")
        if isinstance(self.search, ManualSearch) and self.space:
            raise ValueError("`space` has no effect with `search: manual`; its `trials` say what is tried")
        if not isinstance(self.search, ManualSearch) and not self.space:
            raise ValueError("`space` is empty; name the keys to search, such as `loop.optimizer.lr`")
        if isinstance(self.search, BisectSearch) and self.max_concurrent not in (None, 1):
            raise ValueError("`max_concurrent` has no effect with `search: bisect`, whose trials follow each other")
        if isinstance(self.search, PopulationSearch) and self.num_samples < 2:
            raise ValueError(f"`search: {name}` needs a population: `num_samples` of 2 or more")
        return self


def _listed(value: Any) -> tuple[str, ...]:
    return () if value is None else (value,) if isinstance(value, str) else tuple(value)


def _repeated(names: tuple[str, ...]) -> str:
    return next(name for name in names if names.count(name) > 1)


def domain_faults(domain: StrictModel) -> str | None:
    """Say what is wrong with a domain's bounds; None if nothing is."""
    kind = domain_kind(domain)
    values = getattr(domain, kind)
    if kind == "choice":
        texts = [repr(value) for value in values]
        twice = next((text for text in texts if texts.count(text) > 1), None)
        return f"{twice} stands among the choices twice" if twice else None
    low, high = values
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"the range {list(values)} is not finite"
    if low > high:
        return f"the range {list(values)} is inverted; expected [smallest, largest]"
    if kind in LOGARITHMIC and low <= 0:
        return f"{kind} needs positive numbers, and the range {list(values)} begins at {low:g}; a logarithm has no zero"
    return None
