"""Whether a model will know the classes that it is measured on, asked before it is trained."""

from collections.abc import Iterable, Iterator

from engine.catalog import entry, load
from foundation.errors import DataError
from orchestrator.pipeline.blame import located
from orchestrator.pipeline.graph import STAGE_SCHEME
from orchestrator.pipeline.load import LoadedPipeline
from orchestrator.pipeline.settings import EnsembleStage, EvaluateStage, TrainStage, TuneStage
from vision.class_order import with_classes


def check_classes(loaded: LoadedPipeline, names: Iterable[str]) -> None:
    """Compare the classes of the stages that measure a model with those it is trained on, where the data differ.

    Args:
        names: of the stages that would run.

    Raises:
        DataError: naming the stage and the classes that its model would not know.
    """
    for name in names:
        stage = loaded.pipeline.stages[name]
        if not isinstance(stage, EvaluateStage | EnsembleStage):
            continue
        for trained in {(each.data, each.train_split, each.task) for each in _trained(loaded, name)}:
            if trained[0] != stage.data:
                _compare(loaded, name, (stage.data, stage.split), trained)


def _compare(loaded: LoadedPipeline, name: str, measured: tuple[str, str], trained: tuple[str, str, str]) -> None:
    read, data_sets = load(entry(trained[2]).reader), loaded.pipeline.data
    classes = read(data_sets[trained[0]], trained[1]).classes
    try:
        with_classes(read(data_sets[measured[0]], measured[1]), classes, measured[1])
    except DataError as error:
        raise located(error, loaded, name) from error


def _trained(loaded: LoadedPipeline, name: str) -> Iterator[TrainStage]:
    """The train stages behind a stage's model or models; those of the registry and of files are not looked at."""
    stage = loaded.pipeline.stages[name]
    if isinstance(stage, TrainStage):
        yield stage
    elif isinstance(stage, TuneStage):
        yield stage.base
    else:
        models = stage.models if isinstance(stage, EnsembleStage) else (stage.model,)
        for model in models:
            if model.startswith(STAGE_SCHEME):
                yield from _trained(loaded, model.removeprefix(STAGE_SCHEME))
