"""The types of a pipeline file. Defaults live here, a file says only what differs. No torch, no Ray."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, create_model, model_validator

from engine.catalog import TASKS, entry, load
from engine.settings import (
    CheckpointSettings,
    EnsembleMethod,
    FailureSettings,
    JsonDict,
    LoopSettings,
    RandomSamplerSettings,
    ResourceSettings,
    SamplerSettings,
)
from foundation.settings import FilePath, FromList, StrictModel
from orchestrator.tune.settings import SweepSettings
from vision.settings import DataSettings

MAX_NAME = 100
NAME_PATTERN = rf"^[A-Za-z0-9_-]{{1,{MAX_NAME}}}$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
"""A name that also serves as a folder and in an address: letters, digits, `_` and `-`."""

AS_TRAINED: Literal["as_trained"] = "as_trained"
OVERRIDES = ("tiling", "test_time", "max_detections")
"""Keys of an evaluate stage that may count instead of the model's own."""

GateMetric = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+\..+$")]


class TrainStage(StrictModel):
    """Train a model: what every task's `train` stage shares. The task adds its own keys."""

    kind: Literal["train"]
    task: str
    """The vision problem, for example `detection`; it decides the remaining keys."""
    base: Annotated[str, Field(pattern=r"^stage:[A-Za-z0-9_-]+$")] | None = None
    """`stage:NAME` of a tune stage: train with its base and its best trial's values; the keys given here count on top
    of them. null = all keys stand here."""
    data: Name
    """Name of a data set under `data`."""
    train_split: str = "train"
    """The split that is trained on."""
    val_split: str | None = "val"
    """The split evaluated during training; null = none."""
    sampler: SamplerSettings = RandomSamplerSettings()
    """How the training images of an epoch are drawn, for classes that are not equally frequent."""
    loop: LoopSettings = LoopSettings()
    """How it is trained: epochs, batch, optimizer, schedule, precision."""
    resources: ResourceSettings = ResourceSettings()
    """On how many workers, and what each of them gets."""
    failure: FailureSettings = FailureSettings()
    """How often to try again after a lost worker."""
    checkpoint: CheckpointSettings = CheckpointSettings()
    """How often to save, and how many to keep."""

    def task_settings(self) -> StrictModel:
        """Return the task's own keys as the task's settings class, for example `DetectionSettings`."""
        settings_class = load(entry(self.task).settings)
        return settings_class(**{key: getattr(self, key) for key in settings_class.model_fields})


class EvaluateStage(StrictModel):
    """Measure a model on a split, with the task's own metrics."""

    kind: Literal["evaluate"]
    model: str
    """`stage:NAME` of a train or ensemble stage, `models:/NAME@ALIAS`, `models:/NAME/VERSION` or `file:BUNDLE`."""
    data: Name
    """Name of a data set under `data`."""
    split: str = "test"
    """The split that is measured on."""
    batch_size: PositiveInt = 16
    """Images per worker in one forward pass; for speed and memory only."""
    tiling: JsonDict | Literal["as_trained"] | None = AS_TRAINED
    """Look at large images in tiles: the keys of a detection train stage's `tiling` but for `train`, in place of the
    model's own; null = each image as a whole; as_trained = as the model's own settings say."""
    test_time: JsonDict | Literal["as_trained"] = AS_TRAINED
    """Several passes over each image: the keys of the train stage's `test_time`, in place of the model's own."""
    max_detections: PositiveInt | Literal["as_trained"] = AS_TRAINED
    """So many detections of an image are reported and count, in place of the model's own number; detection only."""
    resources: ResourceSettings = ResourceSettings(num_workers=0)
    """On how many workers, and what each of them gets; by default in this process."""

    @property
    def overrides(self) -> dict[str, Any]:
        """The keys that count instead of the model's own."""
        return {key: value for key in OVERRIDES if (value := getattr(self, key)) != AS_TRAINED}


class EnsembleStage(StrictModel):
    """Join trained models of the same classes into one; the result is a model as a train stage's is."""

    kind: Literal["ensemble"]
    models: Annotated[tuple[str, ...], FromList, Field(min_length=2)]
    """Two or more, each as the `model` of an evaluate stage; an ensemble may be one of them."""
    method: EnsembleMethod
    """max_voting = the class that most models hold for the likeliest; averaging = the mean of their probabilities;
    weighted_averaging = their mean with weights fitted on `split`; stacking = a logistic regression on their
    log-probabilities, fitted on `split`."""
    data: Name
    """Name of a data set under `data`."""
    split: str = "val"
    """The split that the models are measured on and the method is fitted on; one that none of them was trained on."""
    batch_size: PositiveInt = 16
    """Images per worker in one forward pass; for speed and memory only."""
    resources: ResourceSettings = ResourceSettings(num_workers=0)
    """On how many workers the models are measured, and what each of them gets; by default in this process."""


class GateSettings(StrictModel):
    """A condition on a metric: `min`, `max` or both, or `vs` an alias with `max_drop`."""

    metric: GateMetric
    """`STAGE.METRIC`, for example `test.map_50`."""
    min: float | None = None
    """The least that the metric must reach."""
    max: float | None = None
    """The most that the metric may be."""
    vs: Name | None = None
    """An alias of the same registered model, for example `champion`; passes while there is none yet."""
    max_drop: NonNegativeFloat | None = None
    """How far the metric may lie below that of `vs`."""

    @model_validator(mode="after")
    def _has_one_meaning(self) -> "GateSettings":
        is_bound = self.min is not None or self.max is not None
        is_comparison = self.vs is not None and self.max_drop is not None
        is_half = (self.vs is None) != (self.max_drop is None)
        if is_half or is_bound == is_comparison:
            raise ValueError("a gate has `min` and/or `max`, or both `vs` and `max_drop`")
        return self


class RegisterStage(StrictModel):
    """Put a trained model into the registry, if its gates agree."""

    kind: Literal["register"]
    model: str
    """`stage:NAME` of a train or ensemble stage."""
    name: Name
    """Name of the registered model."""
    alias: Name | None = "champion"
    """Alias that is moved to the new version; null = none."""
    tags: dict[str, str] = {}
    """Tags of the version besides our own."""
    gate: Annotated[tuple[GateSettings, ...], FromList] = ()
    """Every one must agree, otherwise nothing is registered and the run ends with exit code 3."""


@cache
def train_stage_class(task: str) -> type[TrainStage]:
    """Join the common keys and the keys of `task` into the class of its train stage."""
    settings_class = load(TASKS[task].settings)
    shared = set(settings_class.model_fields) & set(TrainStage.model_fields)
    if shared:
        raise TypeError(f"settings of task {task!r} reuse keys of every train stage: {', '.join(sorted(shared))}")
    fields: dict[str, Any] = {"task": (Literal[task], ...)}
    return create_model(
        f"{task.capitalize()}Train",
        __base__=(TrainStage, settings_class),
        __module__=__name__,
        __doc__=f"Train a model for {task}.",
        **fields,
    )


def _train_type() -> Any:
    """The union of all train stages, by `task`."""
    train_classes = tuple(train_stage_class(task) for task in sorted(TASKS))
    if len(train_classes) == 1:
        return train_classes[0]
    return Annotated[Union[train_classes], Field(discriminator="task")]  # noqa: UP007


if TYPE_CHECKING:
    AnyTrainStage = TrainStage
else:
    AnyTrainStage = _train_type()


def _or_name(schema: dict[str, Any]) -> None:
    """Let the JSON schema of a key also accept a name, which the loader replaces by what it stands for."""
    kept = ("description", "title")
    settings = {key: schema.pop(key) for key in list(schema) if key not in kept}
    schema["anyOf"] = [{"type": "string"}, settings]


class TuneStage(SweepSettings):
    """Search for the values of a train stage's keys with which it reaches its best; the best trial's bundle and values
    are the result."""

    kind: Literal["tune"]
    base: Annotated[AnyTrainStage, Field(json_schema_extra=_or_name)]
    """The train stage that is tried, as settings or by its name."""

    @property
    def data(self) -> str:
        """The data set of the base."""
        return self.base.data

    @property
    def task(self) -> str:
        """The task of the base."""
        return self.base.task


if TYPE_CHECKING:
    Stage = TrainStage | EvaluateStage | EnsembleStage | RegisterStage | TuneStage
else:
    Stage = Annotated[
        AnyTrainStage | EvaluateStage | EnsembleStage | RegisterStage | TuneStage, Field(discriminator="kind")
    ]

DataStage = TrainStage | EvaluateStage | EnsembleStage | TuneStage
"""The stages that read a data set."""


class TrackingSettings(StrictModel):
    """Where MLflow keeps runs and the registry."""

    uri: str | None = None
    """Address of an MLflow server or database; null = a sqlite database inside `storage`."""
    experiment: str | None = None
    """Name of the MLflow experiment; null = the pipeline's name."""


class Pipeline(StrictModel):
    """A pipeline file: named data sets and named stages."""

    name: Name
    """Names the folder of results below `storage`, and the MLflow experiment."""
    seed: NonNegativeInt = 0
    """Of everything random: weights, the order of samples, augmentation."""
    data: dict[Name, DataSettings]
    """Data sets by name."""
    stages: dict[Name, Stage]
    """Stages by name; their order comes from their references (`stage:NAME`)."""
    storage: FilePath = Path("runs")
    """Folder for results, relative to this file."""
    tracking: TrackingSettings = TrackingSettings()
    """Where MLflow keeps runs and the registry."""

    @property
    def experiment(self) -> str:
        """The MLflow experiment's name."""
        return self.tracking.experiment or self.name
