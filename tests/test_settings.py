"""Settings: the defaults, what each key allows, and the words of the errors."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from cje.errors import CJEError
from cje.settings import (
    GuardRails,
    Policy,
    Settings,
    load_settings,
    parse_settings,
    policy_name_problem,
)
from cje.thresholds import THRESHOLDS
from cje.vocabulary import EstimatorName, WeightChoice

SHIPPED = Path(__file__).resolve().parents[1] / "params.yaml"
SIMULATED = Path(__file__).parent / "simulated.yaml"
MINIMAL = {
    "policies": {"base": {"model": "sim/base"}, "better": {"model": "sim/better"}},
    "base_model": "base",
    "target_models": ["better"],
}


def problem(changes: dict) -> str:
    with pytest.raises(CJEError) as caught:
        parse_settings(MINIMAL | changes)
    return str(caught.value)


def test_the_shipped_files_state_every_key_and_its_default():
    shipped, simulated = load_settings(SHIPPED), load_settings(SIMULATED)
    defaults = parse_settings(MINIMAL)
    chosen = {"base_model", "target_models", "policies"}
    assert shipped.model_fields_set == set(Settings.model_fields)
    assert shipped.guard_rails.model_fields_set == set(GuardRails.model_fields)
    few = chosen | {"oracle_samples"}
    assert simulated.model_dump(exclude=few) == defaults.model_dump(exclude=few)
    own = {"prompts", "oracle_model", "proxy_model", "top_p", "max_tokens"}
    assert shipped.model_dump(exclude=chosen | own) == defaults.model_dump(exclude=chosen | own)


def test_the_shipped_policies_are_of_named_models_in_process_and_the_clone_is_the_base():
    shipped = load_settings(SHIPPED)
    models = {p.name: p.model for p in (shipped.base, *shipped.targets)}
    assert models.pop("smaller") == "local/smollm2-135m"
    assert set(models.values()) == {"local/qwen2.5-coder-0.5b"}
    assert shipped.identical_policies == {"clone"}
    assert {p.top_p for p in (shipped.base, *shipped.targets)} == {1.0}


def test_the_thresholds_of_the_guard_rails_are_the_lists_and_in_its_order():
    for path in (SHIPPED, SIMULATED):
        named = YAML(typ="safe").load(path.read_text(encoding="utf-8"))["guard_rails"]
        assert list(named) == list(THRESHOLDS)
    assert parse_settings(MINIMAL).thresholds == THRESHOLDS
    changes = {"guard_rails": {"refuse_ess": 0.1, "min_target_labels": 0}}
    assert parse_settings(MINIMAL | changes).thresholds == THRESHOLDS | changes["guard_rails"]


@pytest.mark.parametrize("name", THRESHOLDS)
def test_a_threshold_that_stands_where_it_stood_before_is_told_its_place(name):
    assert problem({name: THRESHOLDS[name]}) == f"settings: {name}: is now guard_rails.{name}"


def test_the_estimators_and_weights_are_those_of_the_vocabulary():
    for key, words in (("estimator", EstimatorName), ("weights", WeightChoice)):
        for word in words:
            assert getattr(parse_settings(MINIMAL | {key: word.value}), key) is word


def test_settings_load_no_statistics():
    code = (
        "import sys, cje.settings; "
        "assert not {'numpy', 'pandas', 'scipy', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_policy_inherits_what_its_entry_leaves_out():
    policies = {
        "base": {"model": "sim/base"},
        "own": {"model": "gpt-4o", "temperature": 0, "max_tokens": 7, "system_prompt": "Be brief."},
        "silent": {"model": "claude-x", "temperature": None, "top_p": None},
    }
    settings = parse_settings(
        {
            "policies": policies,
            "base_model": "base",
            "target_models": ["own", "silent", "openai/gpt-4o"],
            "temperature": 0.4,
            "top_p": 1,
        }
    )
    assert settings.base == Policy(
        name="base", model="sim/base", temperature=0.4, top_p=1, max_tokens=40
    )
    own, silent, reference = settings.targets
    assert (own.temperature, own.top_p, own.max_tokens) == (0, 1, 7)
    assert own.system_prompt == "Be brief."
    assert (silent.temperature, silent.top_p, silent.max_tokens) == (None, None, 40)
    assert (reference.name, reference.model) == ("openai/gpt-4o", "openai/gpt-4o")
    assert (reference.temperature, reference.top_p) == (0.4, 1)


def test_each_judge_has_the_rubric_of_both_or_its_own():
    both = parse_settings(MINIMAL | {"rubric": "correctness"})
    assert [(j.rubric, j.rubric_setting) for j in both.judges] == [("correctness", "rubric")] * 2
    own = parse_settings(MINIMAL | {"proxy_rubric": "correctness", "oracle_range": [1, 5]})
    assert (own.proxy.rubric, own.proxy.rubric_setting) == ("correctness", "proxy_rubric")
    assert (own.oracle.rubric, own.oracle.rubric_setting) == ("default", "rubric")
    assert own.proxy.score_range == (0, 10) and own.oracle.score_range == (1, 5)


def test_settings_are_frozen():
    settings = parse_settings(MINIMAL)
    with pytest.raises(ValueError, match="frozen"):
        settings.seed = 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"temprature": 0.4}, "settings: temprature: unknown key; did you mean 'temperature'?"),
        ({"zzz": 1}, "unknown key; the keys are source, prompts,"),
        ({5: 1}, "settings: 5: unknown key"),
        ({"temperature": 3}, "temperature: 3 is not allowed; give a number from 0 to 2, or null"),
        ({"temperature": True}, "temperature: true is not allowed"),
        ({"temperature": "0.7"}, 'temperature: "0.7" is not allowed'),
        ({"temperature": float("nan")}, "temperature: NaN is not allowed"),
        ({"top_p": 0}, "top_p: 0 is not allowed; give a number above 0 and at most 1"),
        ({"seed": -1}, "seed: -1 is not allowed; give a whole number from 0 to 2^63 - 1"),
        ({"seed": 2**63}, "seed: 9223372036854775808 is not allowed"),
        ({"seed": 1.0}, "seed: 1.0 is not allowed"),
        ({"max_samples": 0}, "max_samples: 0 is not allowed; give a whole number, 1 or more"),
        ({"max_tokens": None}, "max_tokens: null is not allowed"),
        ({"oracle_fraction": 0}, "oracle_fraction: 0 is not allowed"),
        ({"oracle_samples": -1}, "oracle_samples: -1 is not allowed"),
        ({"target_labels": -1}, "target_labels: -1 is not allowed; give a whole number, 0 or more"),
        ({"target_labels": 0.5}, "target_labels: 0.5 is not allowed"),
        ({"folds": 1}, "folds: 1 is not allowed; give a whole number from 2 to 50"),
        ({"folds": 51}, "folds: 51 is not allowed"),
        ({"alpha": 1}, "alpha: 1 is not allowed"),
        ({"source": "file"}, 'source: "file" is not allowed; give models or files'),
        ({"estimator": "drcpo"}, "give dr-cpo, ppi, direct, ips, snips or calibrated-ips"),
        ({"weights": None}, "weights: null is not allowed; give auto, sequence or marginal"),
        ({"on_bad_row": "ignore"}, "give error or skip"),
        ({"prompts": "prompts.txt"}, 'prompts: "prompts.txt" is not allowed; give sim/arena'),
        ({"oracle_model": "humans"}, 'oracle_model: "humans" is not allowed; give human, or a'),
        ({"judge_range": [0]}, "judge_range: [0] is not allowed; give two numbers [low, high]"),
        ({"judge_range": [1, 0]}, "judge_range: [1.0, 0.0] is not allowed"),
        ({"judge_range": [0, float("inf")]}, "judge_range: [0, Infinity] is not allowed"),
        ({"judge_range": [-1e308, 1e308]}, "judge_range: [-1e+308, 1e+308] is not allowed"),
        ({"oracle_range": [False, 1]}, "oracle_range: [false, 1] is not allowed"),
        (
            {"guard_rails": {"refuse_ess": 0.4}},
            "guard_rails.refuse_ess: 0.4 is not allowed; give at most caution_ess, 0.3",
        ),
        (
            {"guard_rails": {"caution_ess": 0.01}},
            "guard_rails.refuse_ess: 0.05 is not allowed; give at most caution_ess, 0.01",
        ),
        (
            {"guard_rails": {"min_oracle_label": 50}},
            "guard_rails.min_oracle_label: unknown key; did you mean 'min_oracle_labels'?",
        ),
        ({"guard_rails": {"min_target_labels": 2.5}}, "guard_rails.min_target_labels: 2.5 is not"),
        ({"guard_rails": {"max_half_width": 3}}, "max_half_width: 3 is not allowed; give a number"),
        ({"guard_rails": {7: 3}}, "guard_rails.7: unknown key; the keys are min_oracle_labels,"),
        ({"guard_rails": {"[key]": 3}}, "guard_rails.[key]: unknown key"),
        ({"guard_rails": None}, "guard_rails: null is not allowed; give thresholds by name,"),
        ({"target_models": []}, "target_models: [] is not allowed; name at least one"),
        ({"target_models": "better"}, 'target_models: "better" is not allowed; give a list'),
        ({"target_models": ["better", "better"]}, 'target_models: "better" is listed twice'),
        (
            {"target_models": ["bettr"]},
            'target_models: "bettr" is not defined; did you mean "better"? '
            "Give a defined policy (base, better), or a model such as openai/gpt-5.4-mini",
        ),
        ({"target_models": ["a/ b"]}, 'target_models: "a/ b" is not defined'),
        ({"base_model": "xyz"}, 'base_model: "xyz" is not defined; give a defined policy'),
        ({"policies": {"base": "sim/base"}}, 'policies.base: "sim/base" is not allowed; give {mod'),
        ({"policies": {"base": {}}}, "policies.base.model: missing; give a model:"),
        ({"policies": {"base": {"model": "sim/"}}}, 'policies.base.model: "sim/" is not allowed'),
        ({"policies": {"a b": {"model": "sim/x"}}}, '"a b" is not allowed; the name of a policy'),
        ({"policies": {5: {"model": "sim/x"}}}, "policies: 5 is not allowed as a name"),
        ({"limits": {5: {"concurrency": 1}}}, "limits: 5 is not allowed as a name"),
        ({"[key]": 5}, "[key]: unknown key"),
        (
            {"policies": {"base": {"model": "sim/base", "topp": 1}}},
            "policies.base.topp: unknown key; did you mean 'top_p'?",
        ),
        (
            {"policies": {"base": {"model": "sim/base", "max_tokens": 0}}},
            "policies.base.max_tokens: 0 is not allowed; give a whole number, 1 or more",
        ),
    ],
)
def test_an_error_names_key_value_and_what_is_allowed(changes, words):
    assert words in problem(changes)


def test_missing_keys_are_named():
    with pytest.raises(CJEError) as caught:
        parse_settings({})
    lines = str(caught.value).splitlines()
    assert [line.split(":")[1].strip() for line in lines] == ["base_model", "target_models"]


def test_all_problems_are_listed_on_at_most_five_lines():
    five = {"seed": -1, "folds": 1, "alpha": 0, "weights": "x", "temprature": 1}
    assert len(problem(five).splitlines()) == 5
    lines = problem(five | {"max_tokens": 0, "guard_rails": {"caution_ess": 2}}).splitlines()
    assert len(lines) == 5
    assert lines[-1] == "and 3 more"


@pytest.mark.parametrize(
    ("name", "fine"),
    [("clone", True), ("openai/gpt-4o", True), ("höflich", True), ("", False), ("a b", False),
     ("a\n", False), ("/a", False), ("a//b", False), ("../a", False)],
)  # fmt: skip
def test_policy_names(name, fine):
    assert (policy_name_problem(name) is None) == fine


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed: 1\nseed: 2\n", ':2:1: duplicate key "seed"; keep one of them'),
        ("folds: [1\nseed: 2", "not valid YAML"),
        ("", "must hold settings"),
        ("- seed", "must hold settings"),
        ("a: &a [*a]\n? [1, 2]\n: 3\n", "a: unknown key"),
        (b"\xff\xfe\x00", "not UTF-8 text"),
    ],
)
def test_a_file_that_is_no_settings(tmp_path, text, words):
    path = tmp_path / "params.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CJEError) as caught:
        load_settings(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file_and_a_folder(tmp_path):
    for path in (tmp_path / "params.yaml", tmp_path):
        with pytest.raises(CJEError, match="cannot be read"):
            load_settings(path)


def test_numbers_and_words_are_read_as_dvc_reads_them(tmp_path):
    path = tmp_path / "params.yaml"
    text = "policies: {on: {model: sim/x}}\nbase_model: on\ntarget_models: [on]\nalpha: 1e-2\n"
    path.write_text("\ufeff" + text, encoding="utf-8")
    settings = load_settings(path)
    assert settings.alpha == 0.01
    assert settings.base.name == "on"


@given(st.text(max_size=30).filter(lambda key: key not in {*Settings.model_fields, *THRESHOLDS}))
def test_no_unknown_key_is_ever_accepted(key):
    message = problem({key: 1})
    assert "unknown key" in message
    assert "unknown key" in problem({"guard_rails": {key: 1}})
    assert len(message.splitlines()) == 1


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.text(max_size=5), scalars)


@given(st.dictionaries(st.sampled_from(sorted(Settings.model_fields)), values, max_size=4))
def test_any_value_is_accepted_or_refused_in_our_words(changes):
    try:
        settings = parse_settings(MINIMAL | changes)
    except CJEError as error:
        lines = str(error).splitlines()
        assert len(lines) <= 5
        assert all(line.startswith(("settings: ", "and ")) for line in lines)
        # Without its policies the base model and the targets are not defined any more.
        assert "policies" in changes or any(key in str(error) for key in changes)
    else:
        assert settings.judge_range[0] < settings.judge_range[1]
        assert [p.name for p in settings.targets] == list(settings.target_models)


@pytest.mark.parametrize("model", ["local//models/m.gguf", "likelihood/local//models/m.gguf"])
def test_a_local_model_may_be_a_path_from_the_root(model):
    found = parse_settings(
        {"base_model": "base", "target_models": ["base"], "proxy_model": model,
         "policies": {"base": {"model": "local//models/m.gguf"}}}
    )  # fmt: skip
    assert found.base.model == "local//models/m.gguf" and found.proxy_model == model
    with pytest.raises(CJEError, match="proxy_model"):
        parse_settings({"base_model": "sim/base", "target_models": ["sim/base"],
                        "proxy_model": "openai//gpt-4o"})  # fmt: skip


def test_params_yaml_is_as_dvc_writes_it_so_that_a_change_is_one_line(tmp_path):
    from dvc.utils.hydra import apply_overrides

    before = SHIPPED.read_text(encoding="utf-8").splitlines()
    path = shutil.copy(SHIPPED, tmp_path)
    apply_overrides(path, ["temperature=0.4"])
    after = Path(path).read_text(encoding="utf-8").splitlines()
    changed = [lines for lines in zip(before, after, strict=True) if lines[0] != lines[1]]
    assert changed == [("temperature: 0.7", "temperature: 0.4")]
