from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textvae.architectures import architectures
from textvae.config import ObjectiveSettings, TrainingSettings
from textvae.descriptions import describe, model_fields
from textvae.errors import ConfigError
from textvae.layering import layered, load_config_file
from textvae.parts import LatentSettings
from textvae.settings import from_dict, resolve, to_dict

RNN = {"model": {"architecture": "rnn"}}


def refusal(data: dict) -> str:
    with pytest.raises(ConfigError) as caught:
        from_dict(data)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", list(architectures()))
def test_settings_survive_json(name: str) -> None:
    run = resolve(name)
    assert from_dict(json.loads(json.dumps(to_dict(run)))) == run
    assert run.architecture == name
    assert isinstance(run.model, architectures()[name].settings)


@settings(max_examples=50, deadline=None)
@given(
    objective=st.builds(ObjectiveSettings, beta=st.floats(0, 10), warmup=st.floats(0, 1), cycles=st.integers(1, 9)),
    training=st.builds(TrainingSettings, steps=st.none() | st.integers(1, 10**6), batch=st.integers(1, 512), seed=st.integers(0, 2**32)),
    channels=st.lists(st.integers(1, 64), min_size=1, max_size=5),
)
def test_any_settings_survive_json(objective: ObjectiveSettings, training: TrainingSettings, channels: list[int]) -> None:
    data = {
        "model": {"architecture": "ladder", "latent": {"channels": channels}},
        "objective": asdict(objective),
        "training": asdict(training),
    }
    run = from_dict(json.loads(json.dumps(data)))
    assert (run.objective, run.training, run.model.latent.channels) == (objective, training, tuple(channels))


def test_plain_values_become_the_fields_types() -> None:
    run = from_dict(
        {
            "corpus": {"path": Path("a/b.txt"), "max_length": 1e2},
            "model": {"architecture": "rnn", "latent": {"channels": 16}},
            "objective": {"beta": 1},
        }
    )
    assert run.corpus.path == str(Path("a/b.txt"))
    assert (run.corpus.max_length, type(run.corpus.max_length)) == (100, int)
    assert (run.objective.beta, type(run.objective.beta)) == (1.0, float)
    assert run.model.latent.channels == (16,)


def test_what_is_left_out_of_a_nested_table_keeps_the_architectures_own_default() -> None:
    run = from_dict({"model": {"architecture": "ladder-cnn", "latent": {"prior": "mixture"}}})
    assert run.model.latent == LatentSettings(shape="map", channels=(16, 8, 8), prior="mixture")


def test_every_problem_is_told_in_one_line() -> None:
    message = refusal(
        {
            "corpus": {"pth": "x", "draws": "many"},
            "model": {"architecture": "rnn", "ladder": {}, "latent": {"shape": "desne"}},
            "objective": {"beta": -1},
            "training": {"epoch": 3, "batch": 2.5},
            "trainig": {},
        }
    )
    for part in (
        "unknown setting corpus.pth. Did you mean 'path'?",
        "corpus.draws is 'many': expected a whole number",
        "unknown setting model.ladder. Only ladder, ladder-cnn, ladder-rnn have it",
        "model.latent.shape is 'desne': expected one of dense, map. Did you mean 'dense'?",
        "objective.beta is -1.0: must be at least 0",
        "unknown setting training.epoch. Did you mean 'epochs'?",
        "training.batch is 2.5: expected a whole number",
        "unknown setting trainig. Did you mean 'training'?",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("data", "part"),
    [
        ({"training": {"batch": True}}, "training.batch is True: expected a whole number"),
        ({"training": {"batch": float("inf")}}, "training.batch is inf: expected a whole number"),
        ({"objective": {"beta": float("nan")}}, "objective.beta is nan: expected a number"),
        ({"objective": {"beta": 10**400}}, "expected a number"),
        ({"corpus": {"column": 3}}, "corpus.column is 3: expected a text or none"),
        ({"corpus": 3}, "corpus is 3: expected a table"),
        ({"model": {"architecture": "rnn", "latent": 3}}, "model.latent is 3: expected a table"),
        ({"model": {"architecture": "rnn", "latent": {"channels": ["a"]}}}, "expected a list, each entry a whole number"),
        ({"model": {"architecture": "rnn", "latent": {"channels": []}}}, "model.latent.channels is empty"),
        ({"model": {"architecture": "hybird"}}, "Did you mean 'hybrid'?"),
        ({"model": {"architecture": 3}}, "model.architecture is 3: expected one of cnn"),
        ({"model": {}}, "model.architecture is None: expected one of cnn"),
        ({"model": "rnn"}, "model is 'rnn': expected a table"),
        ({"preset": 3}, "preset is 3: expected a text or none"),
    ],
)
def test_a_wrong_value_is_told_with_what_was_expected(data: dict, part: str) -> None:
    assert part in refusal({**RNN, **data})


def test_the_later_layer_wins_and_layers_stay_as_they_are() -> None:
    below, above = {"a": {"x": 1, "y": 2}, "b": 3}, {"a": {"x": 9}, "c": {"z": 0}}
    merged = layered(below, above)
    assert merged == {"a": {"x": 9, "y": 2}, "b": 3, "c": {"z": 0}}
    merged["a"]["y"] = merged["c"]["z"] = 7
    assert below == {"a": {"x": 1, "y": 2}, "b": 3}
    assert above == {"a": {"x": 9}, "c": {"z": 0}}


tables = st.dictionaries(st.sampled_from("abc"), st.dictionaries(st.sampled_from("xyz"), st.integers(), max_size=3), max_size=3)


@given(tables, tables, tables)
def test_layers_may_be_merged_in_any_grouping(a: dict, b: dict, c: dict) -> None:
    assert layered(layered(a, b), c) == layered(a, layered(b, c)) == layered(a, b, c)
    assert layered(a) == a == layered(a, {}) == layered({}, a) == layered(a, a)


def test_another_budget_takes_the_place_of_the_earlier_one() -> None:
    below = {"training": {"epochs": 50, "batch": 32}}
    assert layered(below, {"training": {"minutes": 5}}) == {"training": {"minutes": 5, "batch": 32}}
    assert layered(below, {"training": {"steps": None, "seed": 1}})["training"]["epochs"] == 50
    with pytest.raises(ConfigError, match="steps and minutes are both given"):
        resolve(flags={"training": {"steps": 10, "minutes": 5}})


def test_another_architecture_keeps_what_it_has_as_well() -> None:
    below = {"model": {"architecture": "rnn", "cell": "gru", "latent": {"shape": "dense", "channels": [64]}, "decoder": {"hidden": 99}}}
    cnn = layered(below, {"model": {"architecture": "cnn"}})["model"]
    assert cnn == {"architecture": "cnn", "latent": {"shape": "dense", "channels": [64]}}
    ladder = layered(below, {"model": {"architecture": "ladder-rnn", "latent": {"prior": "mixture"}}})["model"]
    assert ladder == {"architecture": "ladder-rnn", "cell": "gru", "latent": {"prior": "mixture"}, "decoder": {"hidden": 99}}
    assert layered(below, {"model": {"architecture": "lm"}})["model"] == {"architecture": "lm", "decoder": {"hidden": 99}}
    assert layered(below, {"model": {"architecture": "rnn", "hidden": 7}})["model"] == {**below["model"], "hidden": 7}


def test_ladders_share_their_sizes() -> None:
    sizes = {"latent": {"shape": "map", "channels": [8, 4]}, "ladder": {"hidden": [32, 16]}}
    changed = layered({"model": {"architecture": "ladder", **sizes}}, {"model": {"architecture": "ladder-cnn"}})
    assert changed == {"model": {"architecture": "ladder-cnn", **sizes}}


def test_changing_the_architecture_hides_no_misspelling() -> None:
    data = layered({"model": {"architecture": "rnn", "hiden": 3}}, {"model": {"architecture": "cnn"}})
    assert "unknown setting model.hiden" in refusal(data)


def test_preset_file_and_flags_in_this_order(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('preset = "study/toy/cnn-map"\n[training]\nbatch = 7\nclip = 3\n[model.latent]\nchannels = [5]\n')
    run = resolve(None, file, {"training": {"batch": 9}})
    assert (run.preset, run.training.batch, run.training.clip, run.model.latent.channels) == ("study/toy/cnn-map", 9, 3.0, (5,))
    assert run.training.epochs == 50
    assert resolve("rnn", file).preset == "rnn"
    assert resolve().preset == "default"


def test_an_architecture_alone_stands_for_its_preset() -> None:
    assert resolve(flags={"model": {"architecture": "hybrid"}}) == resolve("hybrid")


def test_the_config_of_a_run_serves_as_a_file(tmp_path: Path) -> None:
    run = resolve("study/tweets/ladder-5", flags={"training": {"minutes": 2}})
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"schema": 1, "steps": 700, **to_dict(run)}))
    assert resolve(None, file) == run


def test_a_files_problem_names_the_file_and_a_flags_problem_does_not(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text('{"training": {"batch": 0}}')
    with pytest.raises(ConfigError, match=r"mine\.json: training\.batch is 0"):
        resolve(None, file)
    file.write_text("{}")
    with pytest.raises(ConfigError, match=r"^training\.batch is 0"):
        resolve(None, file, {"training": {"batch": 0}})


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("a.toml", b"[training]\nbatch = = 3\n", "not valid TOML: invalid value (line 2, column 9)"),
        ("a.json", b'{"training":\n {"batch": }}', "not valid JSON: Expecting value (line 2, column 12)"),
        ("a.json", b"[1]", "not a list"),
        ("a.toml", b"\xff\xfe", "not UTF-8"),
        ("a.yaml", b"x: 1", "ends in .toml or .json"),
        ("a.toml", None, "cannot be read: No such file"),
    ],
)
def test_a_bad_config_file_is_told_with_the_position(tmp_path: Path, name: str, content: bytes | None, part: str) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config_file(file)
    assert part in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_are_described_by_their_docstrings() -> None:
    described = {one.name: one for one in describe(TrainingSettings, "training")}
    assert described["training.batch"].help == "Sequences in a batch."
    assert (described["training.batch"].default, described["training.batch"].type) == (64, int)
    assert described["training.steps"].type == int | None


def test_every_model_setting_is_described_with_its_architectures() -> None:
    known = model_fields()
    assert all(setting.help for setting in known.values())
    assert set(known["model.convolutions.kernels"].architectures) == {"cnn", "hybrid"}
    channels = known["model.latent.channels"]
    defaults = dict(zip(channels.architectures, (one.default for one in channels.described), strict=True))
    assert (defaults["rnn"], defaults["ladder"]) == ((32,), (32, 16, 8))


def test_settings_import_no_torch() -> None:
    code = "import sys, textvae.settings as s; s.resolve('ladder'); assert 'torch' not in sys.modules and 'cyclopts' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
