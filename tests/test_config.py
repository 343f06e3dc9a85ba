"""Parameters: presets, files, and errors that name the nearest valid key."""

import dataclasses

import pytest

from cnnreg.config import (
    Config,
    LossConfig,
    NetworkConfig,
    TrainingConfig,
    preset,
    preset_file,
    preset_texts,
    read_parameters,
)
from cnnreg.errors import ConfigError, UsageError
from cnnreg.synonyms import SYNONYMS


@pytest.mark.parametrize("name", ["default", "paper"])
def test_a_shown_preset_is_a_parameter_file_for_the_same(tmp_path, name):
    """presets show NAME > f.toml; -p f.toml gives the preset back."""
    assert name in preset_texts()
    path = tmp_path / "f.toml"
    path.write_text(preset_file(name))
    config, sections = read_parameters(path)
    assert config == preset(name)
    assert sections == set()  # nothing is changed: it can be used with any model that the preset can


def test_a_file_builds_on_its_base(tmp_path):
    """base = "paper": everything not said is the paper's; without a base it is the default's."""
    path = tmp_path / "f.toml"
    path.write_text('base = "paper"\n[adaptation]\nsteps = 7\n')
    config, sections = read_parameters(path)
    assert config == preset("paper").override({"adaptation": {"steps": 7}}, source="")
    assert sections == {"adaptation"}
    path.write_text("[adaptation]\nsteps = 7\n")
    assert read_parameters(path)[0].loss == preset("default").loss


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("[adaption]\n", "did you mean 'adaptation'"),
        ("[adaptation]\nstep = 3\n", "did you mean 'steps'"),
        ("[adaptation]\nsteps = -3\n", "adaptation.steps must be a whole number of at least 0, got -3"),
        ("[adaptation]\nsteps = 2.5\n", "whole number"),
        ("[adaptation]\nsteps = true\n", "whole number"),
        ("[adaptation]\nlearning_rate = 'fast'\n", "must be a number"),
        ("[loss]\nsimilarity = 'lnc'\n", "did you mean 'lncc'"),
        ("[network]\nchannels = []\n", "list of whole numbers"),
        ("[network]\nchannels = [4, 0]\n", "from 1 to 1024"),
        ("[network]\nchannels = 16\n", "list of whole numbers"),
        ("[input]\nhigh = 101\n", "from 0 to 100"),
        ("[input]\nlow = 90\nhigh = 10\n", "input.low must be below input.high"),
        ("[training]\nschedule = 1\n", "schedule"),
        ("loss = 3\n", "must be a section"),
        ("base = 'papr'\n", "did you mean 'paper'"),
        ("steps == 3\n", "not a TOML parameter file"),
    ],
)
def test_bad_parameters_are_named(tmp_path, text, fragment):
    """Unknown sections, keys and values; wrong types and ranges."""
    path = tmp_path / "f.toml"
    path.write_text(text)
    with pytest.raises((ConfigError, UsageError)) as caught:
        read_parameters(path)
    assert fragment in str(caught.value)


@pytest.mark.parametrize(
    ("text", "names", "value"),
    [
        ("[refinement]\nmetric = 'mind'\n", ("refinement", "similarity"), "mind"),
        ("[refinement]\nsimilarity = 'mattes'\n", ("refinement", "similarity"), "mi"),
        ("[loss]\nmetric = 'meansquares'\n", ("loss", "similarity"), "mse"),
        ("[adaptation]\niterations = 7\n", ("adaptation", "steps"), 7),
    ],
)
def test_names_of_other_tools_are_understood(tmp_path, text, names, value):
    (tmp_path / "f.toml").write_text(text)
    config, sections = read_parameters(tmp_path / "f.toml")
    assert getattr(getattr(config, names[0]), names[1]) == value
    assert sections == {names[0]}


def test_every_further_name_stands_for_a_key():
    """Of each group of names one is a key; so the names of earlier versions go on working."""
    for section, groups in SYNONYMS.items():
        keys = {key.name for key in dataclasses.fields(getattr(Config(), section))}
        for group in groups:
            (key,) = group & keys
            for name in group - keys:
                value = getattr(getattr(Config(), section), key)
                assert Config().override({section: {name: value}}, source="") == Config()


def test_a_key_is_not_given_under_two_names(tmp_path):
    (tmp_path / "f.toml").write_text("[adaptation]\nsteps = 3\niterations = 4\n")
    with pytest.raises(ConfigError, match=r"adaptation\.steps and adaptation\.iterations are two names of one key"):
        read_parameters(tmp_path / "f.toml")


def test_configurations_are_frozen_and_normalised():
    """Nobody changes a default by accident; lists from files become tuples, so that equal means equal."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        LossConfig().tv = 3
    assert NetworkConfig(channels=[4, 8]) == NetworkConfig(channels=(4, 8))
    assert TrainingConfig(learning_rate=1).learning_rate == 1.0


def test_a_parameter_file_of_elastix_is_recognised(tmp_path):
    """Whoever types -p from habit is told what it is, and what to do; a broken TOML file is not taken for one."""
    file = tmp_path / "affine.txt"
    file.write_text('// an affine transform\n(Metric "AdvancedMattesMutualInformation")\n(NumberOfResolutions 4)\n')
    with pytest.raises(ConfigError, match="a parameter file of elastix; 'cnnreg presets show default'"):
        read_parameters(file)
    file.write_text("[loss]\nsimilarity = (ncc)\n")
    with pytest.raises(ConfigError, match=r"not a TOML parameter file: (?!it is).*line 2"):
        read_parameters(file)
