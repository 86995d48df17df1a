"""Which address answers is part of what is asked, and stands in the tables."""

import pandas as pd
import pytest

from cje.errors import CJEError
from cje.models.addresses import OWN, VARIABLES
from cje.models.lookup import provider_for
from cje.models.names import split_model
from cje.models.provider import JudgePrompt
from cje.models.registry import backend_for
from cje.models.runner.calls import Calls
from cje.models.runner.store import ReplyStore
from cje.pipeline.cast import cast_of, moved, write_cast
from cje.settings import address_problem, parse_settings
from loopback import Loopback

PROMPTS = pd.DataFrame({"uid": ["a", "b"], "prompt": ["Why?", "How?"]})
# The keys of an answer and of a verdict, as they were before addresses were part of any.
KEPT = {
    "openai/gpt-4o": ("5558ab5106e105caa645a4afc25cb514", "dce2d4936da65a70cce3d809c4021b0b"),
    "anthropic/claude-haiku-4-5": (
        "b9f7dc82328c3a2154af331dda28ef83",
        "3799fa2149515628726f19a98de24c68",
    ),
    "gemini/gemini-3-flash": (
        "75c6b4df6e0058ea52bce05ba964826d",
        "c6f9c5361fc2684b75317dc0f84d18d4",
    ),
    "openrouter/a/b": ("4b52ef6b94aad9b0f01bff1beb9713b7", "6994de585228d4db524829f75f1a1ccf"),
    "server/m": ("4ecd52705907f4fc8f3d9f1aa6272213", "438546d4714328f71b3d6fd3baaadb23"),
}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)
    for provider in VARIABLES:
        name = "AZURE_OPENAI" if provider == "azure" else provider.upper()
        monkeypatch.setenv(f"{name}_API_KEY", "sk-loopback-0123456789abcdef")


def settings(model, **changes):
    given = {"temperature": 0.5, "top_p": None, "max_tokens": 8, "base_url": "http://h:1/v1/"}
    return parse_settings(given | {"base_model": model, "target_models": [model]} | changes)


def keys(model, **changes):
    """Of an answer and of a verdict of the model."""
    backend, given = backend_for(model), settings(model, proxy_model=model, **changes)
    cast = cast_of(given)
    address = cast.proxy.base_url and cast.proxy.base_url.rstrip("/")
    verdict = JudgePrompt((("user", "x"),), "{}", address)
    name = split_model(model)[1]
    return backend.answer(cast.base, "Say it.").key, backend.judgement(name, verdict).key


@pytest.mark.parametrize("model", KEPT)
def test_what_the_provider_itself_answers_has_the_key_that_it_had(model, monkeypatch):
    assert keys(model) == KEPT[model]
    provider, _ = split_model(model)
    if provider in OWN:
        monkeypatch.setenv(VARIABLES[provider], OWN[provider].rstrip("/") + "/")
        assert keys(model) == KEPT[model]


@pytest.mark.parametrize("model", [model for model in KEPT if not model.startswith("server/")])
def test_another_address_is_another_key_whoever_sets_it(model, monkeypatch):
    provider, mock = split_model(model)[0], "http://127.0.0.1:9/v1"
    by_setting = keys(model, addresses={provider: mock})
    assert not set(by_setting) & set(KEPT[model])
    monkeypatch.setenv(VARIABLES[provider], mock)
    assert keys(model) == by_setting
    monkeypatch.setenv(VARIABLES[provider], "http://127.0.0.1:10/v1")
    assert not set(keys(model)) & {*by_setting, *KEPT[model]}
    assert keys(model, addresses={provider: mock}) == by_setting  # goes before the environment
    own = {"mine": {"model": model, "base_url": mock}}
    assert cast_of(settings("mine", policies=own)).base.base_url == mock


def answered(folder, **changes):
    given = settings("openai/gpt-4o", **changes)
    calls = Calls(given, "generate_logs", ReplyStore(folder))
    base = cast_of(given).base
    logs = provider_for(base.model, calls).generate(PROMPTS, base, draw=0, seed=1)
    return logs["address"].unique().tolist(), calls.table()["address"].unique().tolist()


def test_replies_of_one_server_are_not_those_of_another(tmp_path, monkeypatch):
    with Loopback() as one, Loopback() as other:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{one.url}/v1")
        assert answered(tmp_path) == ([f"{one.url}/v1"], [f"{one.url}/v1"])
        assert (len(one.calls), len(other.calls)) == (2, 0)
        found = answered(tmp_path, addresses={"openai": f"{other.url}/v1"})
        assert found == ([f"{other.url}/v1"], [f"{other.url}/v1"])
        assert (len(one.calls), len(other.calls)) == (2, 2)
        answered(tmp_path)
        assert (len(one.calls), len(other.calls)) == (2, 2)
        # Nor those of the provider itself, which is asked in their place.
        monkeypatch.delenv("OPENAI_BASE_URL")
        base = cast_of(settings("openai/gpt-4o")).base
        calls = Calls(settings("openai/gpt-4o"), "generate_logs", ReplyStore(tmp_path))
        provider = provider_for("openai/gpt-4o", calls)
        requests = provider.answer_requests(PROMPTS, base, draw=0, seed=1)
        assert not any(map(calls.store.holds, requests)) and base.base_url == OWN["openai"]


@pytest.mark.parametrize(
    "address",
    [
        "https://me:s3cr3t@proxy.example.org/v1",
        "https://proxy.example.org/v1?token=s3cr3t",
        "https://proxy.example.org/v1#s3cr3t",
        "me:s3cr3t@proxy.example.org",
    ],
)
def test_an_address_holds_no_secret_and_none_is_repeated(address, monkeypatch):
    problem = address_problem(address)
    assert "extra_headers" in problem and "s3cr3t" not in problem
    for where in ({"base_url": address}, {"addresses": {"openai": address}}):
        with pytest.raises(CJEError, match="not allowed in an address") as error:
            settings("openai/gpt-4o", **where)
        assert "s3cr3t" not in str(error.value)
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    with pytest.raises(CJEError, match=r"^OPENAI_BASE_URL: user, password") as error:
        cast_of(settings("openai/gpt-4o"))
    assert "s3cr3t" not in str(error.value)


def test_a_variable_that_holds_no_address_is_named(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "localhost:8000")
    with pytest.raises(CJEError, match=r'^ANTHROPIC_BASE_URL: "localhost:8000" is not allowed'):
        cast_of(settings("anthropic/claude-haiku-4-5"))


def test_what_moved_since_the_settings_were_checked_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    template = tmp_path / "mine.jinja"
    template.write_text("{{ messages[0]['content'] }}")
    on_server = {"model": "server/m", "chat_template": "mine.jinja"}
    given = settings(
        "openai/gpt-4o", target_models=["there"], policies={"there": on_server},
        proxy_model="likelihood/server/j", chat_template="mine.jinja",
    )  # fmt: skip
    assert moved(cast_of(given)) == []  # nothing was checked yet
    write_cast(given, cast_of(given))
    assert moved(cast_of(given)) == []
    checked = cast_of(given)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert moved(cast_of(given)) == ["openai/gpt-4o"]
    template.write_text("Say: {{ messages[0]['content'] }}")
    assert moved(cast_of(given)) == ["openai/gpt-4o", "server/m", "likelihood/server/j"]
    with pytest.raises(CJEError, match="jinja has changed since the settings were checked"):
        backend_for("server/m").answer(checked.targets[0], "Why?")
    backend_for("server/m").answer(cast_of(given).targets[0], "Why?")
