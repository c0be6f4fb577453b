"""What a sweep searches: the default over every architecture, and ranges from a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from textvae.architectures import architectures
from textvae.errors import ConfigError
from textvae.layering import dotted, nested
from textvae.presets import preset_names
from textvae.settings import resolve, to_dict
from textvae.study.commands import typed
from textvae.study.sweep.space import as_data, default_space, holds, load_space, rounded, settings_of

BASE = resolve("rnn")


def written(folder: Path, text: str) -> Path:
    path = folder / "space.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("preset", preset_names())
def test_the_default_space_holds_its_base_and_nothing_that_cannot_be(preset: str) -> None:
    base = resolve(preset)
    values = dotted(to_dict(base))
    space = default_space(base)
    assert {"training.learning_rate", "training.batch"} <= set(space)
    for name, one in space.items():
        assert holds(one, values[name]), name
        assert dotted(to_dict(settings_of(base, {name: typed(values[name])})))[name] == values[name]
        for examples in as_data({name: one}).values():
            for example in examples.get("choices") or (examples["low"], examples["high"]):
                settings_of(base, {name: example})


@pytest.mark.parametrize("architecture", architectures())
def test_every_width_and_dropout_of_an_architecture_is_searched(architecture: str) -> None:
    base = resolve(architecture)
    space = default_space(base)
    for name in dotted(to_dict(base)["model"], "model."):
        if name.split(".")[-1] in ("hidden", "embedding", "channels", "reconstruction", "dropout", "word_dropout"):
            assert name in space
    assert ("objective.beta" in space) == (architecture != "lm")


def test_a_ladder_is_scaled_as_a_whole_and_stays_even() -> None:
    space = default_space(resolve("ladder-rnn"))
    assert space["model.ladder.hidden"] == CategoricalDistribution(["128,64,32", "256,128,64", "512,256,128"])
    odd = default_space(resolve("rnn", flags={"model": {"hidden": 6, "latent": {"channels": 3}}}))
    assert odd["model.hidden"] == CategoricalDistribution([4, 6, 12])
    assert odd["model.latent.channels"] == CategoricalDistribution([2, 3, 6])


def test_what_the_user_fixed_is_not_searched_by_default() -> None:
    space = default_space(BASE, fixed={"training.batch", "objective.beta"})
    assert "training.batch" not in space and "objective.beta" not in space and "training.learning_rate" in space


def test_where_training_starts_from_a_run_its_widths_stay() -> None:
    space = default_space(resolve("rnn", flags={"training": {"start_from": "runs/first"}}))
    assert {name for name in space if name.startswith("model.")} == {"model.dropout", "model.decoder.dropout", "model.decoder.word_dropout"}
    assert {"training.learning_rate", "training.batch", "objective.beta"} <= set(space)


def test_free_bits_are_searched_where_the_latent_can_have_them() -> None:
    per = {"free_bits_per": "channel", "free_bits": 0.0}
    assert default_space(resolve("rnn", flags={"objective": per}))["objective.free_bits"] == FloatDistribution(0.0, 0.5)
    mixture = {"objective": per, "model": {"latent": {"prior": "mixture"}}}
    assert "objective.free_bits" not in default_space(resolve("rnn", flags=mixture))


def test_dotted_names_and_back() -> None:
    assert nested(dotted(to_dict(BASE))) == to_dict(BASE)


def test_a_file_with_quoted_names_and_tables_is_the_whole_space(tmp_path: Path) -> None:
    text = """
        "training.learning_rate" = { low = 1e-4, high = 1e-2, log = true }
        model.latent.channels = { choices = [8, 16] }
        [model.decoder]
        hidden = { low = 32, high = 128, step = 32 }
        cell = { choices = ["lstm", "gru"] }
    """
    assert load_space(written(tmp_path, text), BASE) == {
        "training.learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
        "model.latent.channels": CategoricalDistribution([8, 16]),
        "model.decoder.hidden": IntDistribution(32, 128, step=32),
        "model.decoder.cell": CategoricalDistribution(["lstm", "gru"]),
    }


def test_a_file_over_the_default(tmp_path: Path) -> None:
    path = written(tmp_path, 'default = true\n"training.batch" = { choices = [7] }')
    default = default_space(BASE)
    assert load_space(path, BASE) == {**default, "training.batch": CategoricalDistribution([7])}


def test_numbers_are_tried_as_they_are_typed() -> None:
    rate = FloatDistribution(1.2344e-4, 0.01, log=True)
    assert rounded(rate, 0.00123456789) == 0.001235
    assert rounded(rate, 1.2344e-4) == 1.2344e-4  # 1.234e-4 would be outside of its ends
    assert rounded(IntDistribution(8, 20_000), 12_345) == 12_345
    assert rounded(CategoricalDistribution([0.123456]), 0.123456) == 0.123456
    assert holds(FloatDistribution(0, 1, step=0.25), 0.5)
    assert not holds(FloatDistribution(0, 1, step=0.25), 0.3)
    assert not holds(FloatDistribution(0, 1), 1.01)


def test_lists_of_a_ladder_are_choices(tmp_path: Path) -> None:
    base = resolve("ladder")
    space = load_space(written(tmp_path, '"model.latent.channels" = { choices = [[16, 8, 4], [8, 8, 8]] }'), base)
    (one,) = space.values()
    assert holds(one, (8, 8, 8)) and not holds(one, (8, 8, 4))
    assert settings_of(base, {"model.latent.channels": "8,8,8"}).model.latent.channels == (8, 8, 8)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('"training.learning_rat" = { low = 1, high = 2 }', "training.learning_rat. Did you mean 'training.learning_rate'?"),
        ('"model.ladder.hidden" = { choices = [8] }', "Only ladder, ladder-cnn, ladder-rnn have it"),
        ('"training.batch" = 32', "training.batch is 32: expected { low"),
        ('"training.batch" = { lo = 8, high = 16 }', "unknown lo. Did you mean 'low'?"),
        ('"training.batch" = { low = 8 }', "expected low and high as numbers"),
        ('"training.batch" = { low = 8.5, high = 16 }', "it is a whole number"),
        ('"training.batch" = { low = 16, high = 8 }', "`low <= high` must hold"),
        ('"training.batch" = { low = 0, high = 8 }', "training.batch is 0: must be at least 1"),
        ('"objective.beta" = { low = 0, high = 1, log = true }', "`low > 0` must hold for `log=True`"),
        ('"training.batch" = { choices = [] }', "choices are a list of at least one value"),
        ('"training.learning_rate" = { low = 1e-4, high = 1, log = true, step = 0.1 }', "`step` is not supported when `log` is true"),
        ('"training.batch" = { choices = [[[8]]] }', "training.batch has choices = [[[8]]]"),
        ('"training.batch" = { choices = [8, 8] }', "every choice must differ"),
        ('"training.batch" = { choices = ["many"] }', "training.batch is 'many': expected a whole number"),
        ('"model.decoder.cell" = { low = 1, high = 2 }', "model.decoder.cell is 1: expected one of lstm, gru"),
        ('"training.seed" = { choices = [1, 2] }', "training.seed cannot be searched: it is the same for every trial"),
        ('"corpus.tokenizer" = { choices = ["bytes"] }', "corpus.tokenizer cannot be searched: it changes what is measured"),
        ("default = 3", "default is 3: expected true or false"),
        ("", "it names no setting"),
        ("[", "not valid TOML"),
    ],
)
def test_a_bad_file_is_told_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        load_space(path, BASE)
    assert str(error.value).startswith(f"{path}: ") and told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_space_is_toml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"space\.json: a space is a \.toml file"):
        load_space(tmp_path / "space.json", BASE)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_space(tmp_path / "none.toml", BASE)
