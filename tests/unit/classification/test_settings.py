"""What may stand in a classification stage, and what is refused with a reason."""

from typing import Any

import pytest
from pydantic import ValidationError

from classification.settings import ClassificationSettings, ClassificationTraining


@pytest.mark.parametrize(
    ("given", "words"),
    [
        pytest.param({"test_time": {"crops": "ten", "flip": True}}, "mirror images already", id="flip of ten crops"),
        pytest.param({"resize": "squash", "resize_size": 256, "augment": {"preset": "none"}}, "no effect", id="resize"),
        pytest.param({"resize_size": 200}, "less than the crop", id="crop larger than the image"),
        pytest.param({"image_size": [32, 32], "test_time": {"crops": "five"}}, "all crops are the same", id="no room"),
        pytest.param({"resize": "squash", "test_time": {"crops": "five"}}, "needs `resize: crop`", id="whole images"),
        pytest.param({"test_time": {"crops": "five", "scales": [0.5]}}, "less than the crops", id="shrunk crops"),
        pytest.param({"loss": {"name": "triplet"}, "augment": {"preset": "strong"}}, "one class", id="mixed pairs"),
    ],
)
def test_what_contradicts_itself_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ClassificationSettings.model_validate(given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        pytest.param({"model": {"weights": "file:a", "init": "xavier"}}, "no effect where", id="init and weights"),
        pytest.param({"model": {"norm": "frozen"}}, "needs `model.weights`", id="frozen from scratch"),
        pytest.param({"distill": {}}, "must name the teacher", id="no teacher"),
        pytest.param({"model": {"name": "ensemble"}}, "kind: ensemble", id="ensembles are not trained"),
    ],
)
def test_a_training_needs_more_than_a_bundle(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ClassificationTraining.model_validate(given)


def test_settings_survive_the_way_into_a_bundle() -> None:
    settings = ClassificationTraining.model_validate(
        {"model": {"name": "lenet5", "head": {"name": "spp"}}, "normalize": {"mean": [0, 0, 0.5], "std": [1, 1, 1]}}
        | {"loss": {"name": "arcface"}, "test_time": {"scales": [1.0, 1.25]}}
    )
    again = ClassificationSettings.model_validate(settings.model_dump(mode="json"))
    assert again.model_dump() == settings.model_dump()


@pytest.mark.parametrize(
    ("given", "shortest", "evaluated"),
    [
        pytest.param({}, 256, (224, 224), id="256 to 224"),
        pytest.param({"image_size": [32, 32]}, 32, (32, 32), id="small images are used whole"),
        pytest.param({"image_size": [112, 224], "test_time": {"crops": "ten"}}, 128, (128, 256), id="crops need room"),
        pytest.param(
            {"image_size": [32, 32], "resize_size": 36, "test_time": {"crops": "five"}}, 36, (36, 36), id="own"
        ),
    ],
)
def test_sizes_of_evaluation(given: dict[str, Any], shortest: int, evaluated: tuple[int, int]) -> None:
    settings = ClassificationSettings.model_validate(given)
    assert (settings.shortest_side, settings.evaluation_size) == (shortest, evaluated)
