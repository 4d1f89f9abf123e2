"""The settings of augmentation: presets, and that a key without effect is refused."""

from typing import get_args

import pytest
import yaml
from pydantic import ValidationError

from detection.augment_settings import AugmentSettings, CopyPasteSettings
from orchestrator.cli.data import preset as preset_command
from vision.augment.presets import PRESETS, CopyPaste, Recipe, resolve


def recipe_of(settings):
    return resolve(settings.preset, settings.model_dump())


def test_every_preset_can_be_named():
    assert sorted(get_args(AugmentSettings.model_fields["preset"].annotation)) == sorted(PRESETS)


def test_every_part_of_a_recipe_can_be_overridden():
    assert set(Recipe.__dataclass_fields__) <= set(AugmentSettings.model_fields)
    assert set(CopyPaste.__dataclass_fields__) == set(CopyPasteSettings.model_fields)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_nothing_given_is_the_preset(preset):
    assert recipe_of(AugmentSettings(preset=preset)) == PRESETS[preset]


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_what_the_command_prints_can_be_pasted_into_a_stage(preset, capsys):
    preset_command.main([preset], standalone_mode=False)
    printed = yaml.safe_load(capsys.readouterr().out)
    settings = AugmentSettings.model_validate(printed["augment"])
    assert recipe_of(settings) == PRESETS[preset]
    assert printed["augment"]["mosaic"] == PRESETS[preset].mosaic


def test_settings_survive_the_way_through_a_bundle():
    settings = AugmentSettings.model_validate({"copy_paste": {"chance": 0.3, "copies": [2, 2]}, "zoom": 0.1})
    assert AugmentSettings.model_validate(settings.model_dump(mode="json")) == settings


def test_one_key_of_copy_paste_leaves_the_others_as_in_the_preset():
    recipe = recipe_of(AugmentSettings.model_validate({"preset": "small_objects", "copy_paste": {"rare_weight": 1.0}}))
    assert recipe.copy_paste.chance == PRESETS["small_objects"].copy_paste.chance
    assert recipe.copy_paste.rare_weight == 1.0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        pytest.param({"copy_paste": {"scale": 0.1}}, "copy_paste.scale has no effect", id="copy-paste is off"),
        pytest.param({"zoom_factor": [2.0, 3.0]}, "give zoom as well", id="zoom is off"),
        pytest.param({"crop_sides": [0.5, 0.9]}, "give crop as well", id="crop is off"),
        pytest.param({"stitcher_threshold": 0.2}, "give stitcher as well", id="stitcher is off"),
        pytest.param({"crop": 0.5, "crop_sides": [0.5, 1.5]}, "cannot be larger than its image", id="crop too large"),
        pytest.param({"zoom": 0.5, "zoom_factor": [0.5, 2.0]}, "a zoom enlarges", id="zoom out"),
        pytest.param({"copy_paste": {"chance": 1.0, "copies": [3, 1]}}, "fewest, most", id="copies the wrong way"),
        pytest.param({"copy_paste": {"chance": 1.0, "copies": [0, 1]}}, "greater than 0", id="no copy"),
        pytest.param({"copy_paste": {"chance": 1.0, "strategy": "some"}}, "one_once", id="unknown strategy"),
        pytest.param({"preset": "heavy"}, "small_objects", id="unknown preset"),
    ],
)
def test_bad_settings_are_refused(given, words):
    with pytest.raises(ValidationError, match=words):
        AugmentSettings.model_validate(given)


def test_a_part_may_be_switched_off_without_taking_its_keys_out():
    AugmentSettings.model_validate(
        {"copy_paste": {"chance": 0.0, "scale": 0.1}, "zoom": 0.0, "zoom_factor": [2.0, 2.0]}
    )
