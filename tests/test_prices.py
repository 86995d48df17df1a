"""The price table, what calls cost by it, and what is said of it before a run and after."""

import re
import socket
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from cje.commands.cost import print_forecast
from cje.errors import CJEError
from cje.models.prices import Price, price_of, price_source, undated
from cje.models.requests import Reply, Request
from cje.models.retired import _ends, require_alive, retirement_of
from cje.models.runner.calls import Calls
from cje.models.runner.store import ReplyStore
from cje.pipeline.cost import cost_metrics, priced
from cje.pipeline.forecast import Expected, dollars
from cje.settings import Prices, parse_settings


def test_a_call_costs_its_tokens_at_the_price_per_million():
    price = Price(2.0, 8.0)
    assert price.cost(500_000, 250_000) == pytest.approx(1.0 + 2.0)
    assert price.cost(0, 0) == 0.0


def test_a_batch_halves_the_price_where_the_provider_sells_batches():
    for model in ("openai/gpt-4o", "anthropic/claude-haiku-4-5"):
        price = price_of(model)
        assert price.cost(1000, 500, batch=True) == pytest.approx(price.cost(1000, 500) / 2)
    assert Price(1.0, 1.0).cost(10, 10, batch=True) == Price(1.0, 1.0).cost(10, 10)


def test_a_bare_name_has_the_price_of_the_full_one():
    assert price_of("gpt-4o") == price_of("openai/gpt-4o") == Price(2.5, 10.0, 0.5)
    assert price_of("claude-opus-5-5") == price_of("anthropic/claude-opus-5-5")
    assert price_of("o3") == price_of("openai/o3")


def test_a_snapshot_has_its_own_price_or_that_of_its_undated_name():
    assert price_of("gpt-4o-2024-08-06") == price_of("gpt-4o")
    assert price_of("gpt-4o-2024-05-13") == Price(5.0, 15.0, 0.5)
    assert price_of("claude-haiku-4-5-20251001") == price_of("claude-haiku-4-5")
    assert price_of("gpt-4.1-mini-2025-04-14") == price_of("gpt-4.1-mini") != price_of("gpt-4.1")


@pytest.mark.parametrize("model", ["gpt-9", "openai/gpt-4o-2030", "claude-opus-5-6", "x/y", "gpt-"])
def test_a_model_that_nobody_priced_has_no_price(model):
    assert price_of(model) is None


@pytest.mark.parametrize("model", ["sim/base", "checks/instructions", "local/a/b.gguf", "server/m"])
def test_models_that_nobody_sells_are_free(model):
    assert price_of(model) == Price(0.0, 0.0)


def test_a_likelihood_judge_costs_what_its_model_does():
    assert price_of("likelihood/local/smollm2-135m") == Price(0.0, 0.0)
    assert price_of("likelihood/openai/gpt-9") is None


def test_the_settings_own_prices_go_first():
    own = {"openai/gpt-4o": {"input": 1.0, "output": 2.0}, "gpt-9": Prices(input=3.0, output=4.0)}
    assert price_of("gpt-4o", own) == Price(1.0, 2.0, 0.5)
    assert price_of("gpt-4o-2024-08-06", own) == Price(1.0, 2.0, 0.5)
    assert price_of("openai/gpt-9", own) == Price(3.0, 4.0, 0.5)
    assert price_of("gpt-4o-mini", own) == price_of("gpt-4o-mini")


def test_a_server_that_charges_can_be_priced():
    own = {"server/meta/llama": {"input": 0.2, "output": 0.2}}
    assert price_of("server/meta/llama", own).cost(1e6, 0) == pytest.approx(0.2)
    assert price_of("server/other", own) == Price(0.0, 0.0)


def test_a_long_prompt_costs_more_on_all_of_its_tokens():
    price = price_of("claude-haiku-5-5")
    assert price.cost(100_000, 1000) == pytest.approx((100_000 * 0.1 + 1000 * 0.5) / 1e6)
    assert price.cost(100_001, 1000) == pytest.approx((100_001 * 0.5 + 1000 * 2.5) / 1e6)
    assert price.cost(100_001, 1000, batch=True) == pytest.approx(price.cost(100_001, 1000) / 2)


TEXTS = (
    "README.md", "params.yaml", "docs/*.md", "data/*/README.md", "examples/*", "scripts/*",
    "stages/cje/settings/*.py", "stages/cje/commands/*.py", "stages/cje/models/local/*.py",
)  # fmt: skip
NAMED = re.compile(r"(?<![\w*-])(?:gpt|claude)-\d?[a-z]*[\w.-]*\d[\w.-]*\b")
ROOT = Path(__file__).resolve().parents[1]


def test_every_model_that_people_are_told_of_is_sold_and_will_be():
    found = [path for pattern in TEXTS for path in sorted(ROOT.glob(pattern))]
    files = [path for path in found if path.is_file()]
    named = {name for path in files for name in NAMED.findall(path.read_text(encoding="utf-8"))}
    assert {"gpt-5.4-mini", "gpt-6.1-sol", "gpt-6-luna", "claude-haiku-4-5"} <= named
    assert {name for name in named if price_of(name) is None or retirement_of(name)} == set()


def test_the_prices_say_where_they_are_from_and_need_no_network(monkeypatch):
    def refuse(*given, **named):
        raise AssertionError("a price was asked of the network")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    words = price_source()
    assert re.fullmatch(r"genai-prices [\d.]+ \(its newest price is of 2\d{3}-\d\d-\d\d\)", words)
    assert price_of("gpt-6-luna").input > 0


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_every_line_of_the_table_of_ends_has_a_day_and_a_model_that_is_sold(provider):
    for name, (day, instead) in _ends(provider).items():
        assert name == undated(name) or name in ("gpt-4o-2024-05-13",)
        assert date(2024, 1, 1) < day < date(2030, 1, 1)
        assert price_of(f"{provider}/{instead}") and instead not in _ends(provider)


def end(model: str) -> str | None:
    found = retirement_of(model)
    return found and found.words


@pytest.fixture
def at_home(monkeypatch):
    for name in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "model",
    ["gpt-3.5-turbo", "openai/gpt-4", "gpt-4-turbo-2024-04-09", "claude-2", "claude-3-opus-latest",
     "anthropic/claude-3-opus-20240229", "claude-3-5-sonnet-20241022"],
)  # fmt: skip
def test_the_names_of_old_guides_end_with_what_to_take_instead(at_home, model):
    assert re.fullmatch(r"shut down on 202\d-\d\d-\d\d; take [\w.-]+", end(model))
    with pytest.raises(CJEError, match=f"{model} was shut down by .* on .*; take "):
        require_alive(model)


def test_a_snapshot_may_end_before_its_undated_name(at_home):
    assert retirement_of("gpt-4o-2024-05-13").day < retirement_of("gpt-4o-2024-08-06").day
    assert retirement_of("gpt-4o-2024-08-06") == retirement_of("gpt-4o")


@pytest.mark.parametrize("model", ["gpt-6-luna", "claude-haiku-4-5", "server/gpt-4", "sim/base"])
def test_what_has_no_end_is_alive(at_home, model):
    assert end(model) is None
    require_alive(model)


def test_another_server_decides_itself_what_it_has(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert end("gpt-3.5-turbo") is None and end("claude-2") is not None


def test_a_model_that_is_shut_down_ends_the_run_in_a_sentence_unless_its_replies_are_kept(
    at_home, tmp_path, monkeypatch
):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    store = ReplyStore(tmp_path / "store", [])
    calls_of = Calls(parse_settings(PAID), "generate_logs", store)
    with pytest.raises(CJEError, match=r"^openai/gpt-3\.5-turbo was shut down by OpenAI on"):
        calls_of.require_ready(["gpt-3.5-turbo"])
    kept = Request(kind="answer", model="openai/gpt-3.5-turbo", messages=(("user", "Why?"),))
    store.keep(kept, Reply(text="So.", prompt_tokens=1, completion_tokens=1), 0.1)
    calls_of.require_ready(["gpt-3.5-turbo"])


PAID = {
    "policies": {"base": {"model": "openai/gpt-9-mini", "temperature": None, "top_p": None}},
    "base_model": "base",
    "target_models": ["openai/gpt-9"],
    "oracle_model": "openai/gpt-9",
    "proxy_model": "claude-haiku-4-5",
    "temperature": None,
    "top_p": None,
    "max_samples": 400,
}


@pytest.fixture
def said(tmp_path, monkeypatch):
    """What the forecast of settings says, in one line of words."""
    monkeypatch.setenv("CJE_STORE", str(tmp_path / "store"))

    def say(**changes) -> str:
        console = Console(width=200, record=True)
        print_forecast(parse_settings(PAID | changes), console)
        return " ".join(console.export_text().split())

    return say


def test_the_forecast_names_unknown_prices_and_the_check_of_the_estimates(said):
    words = said()
    assert words.count("unknown price") == 4 + 3  # rows and sums
    sums = "2,000 calls to make: at least $0.6830, without openai/gpt-9-mini (unknown price; give"
    assert sums in words
    assert "the check of the estimates is 200 of them: at least $0.0000, without" in words
    assert "(oracle_samples: auto; with 0 there is no check)" in words
    assert (
        "estimate by the Arena guide's rule of thumb: $4.20, of which $2.00 for the check" in words
    )


def test_the_forecast_sums_what_has_a_price_and_leaves_out_the_check_where_there_is_none(said):
    prices = {f"openai/{name}": {"input": 1.0, "output": 2.0} for name in ("gpt-9", "gpt-9-mini")}
    words = said(prices=prices, oracle_samples=0)
    assert "unknown" not in words and "at least" not in words and "the check of" not in words
    assert "1,800 calls to make: $0.8809" in words


def test_the_forecast_says_which_models_are_shut_down_and_which_will_be(at_home, said):
    words = said(oracle_model="gpt-4", proxy_model="gpt-4o-mini")
    assert "openai/gpt-4 200 0" in words and words.count("shut down on 2026-10-23") == 4
    assert "openai/gpt-4 (shut down on 2026-10-23; take gpt-6.1-sol)" in words
    assert "openai/gpt-4o-mini shuts down on 2027-01-14; take gpt-6-luna" in words


def test_a_free_oracle_has_no_rule_of_thumb(said):
    assert "rule of thumb" not in said(oracle_model="sim/oracle")


def test_a_long_price_is_of_a_long_prompt_and_not_of_many_short_ones():
    settings = parse_settings(PAID)
    row = Expected(calls=1000, kept=0, prompt_tokens=400_000, completion_tokens=80_000)
    assert dollars("claude-haiku-5-5", row, settings) == pytest.approx(0.4 * 0.1 + 0.08 * 0.5)
    assert dollars("openai/gpt-9", row, settings) is None
    assert dollars("openai/gpt-9", Expected(calls=7, kept=7), settings) == 0


def calls(*rows) -> pd.DataFrame:
    columns = "key stage kind model prompt_tokens completion_tokens cost_usd reason".split()
    return pd.DataFrame(rows, columns=columns)


BOUGHT = calls(
    ("a", "generate_logs", "answer", "openai/gpt-9", 1000, 500, 0.0, None),
    ("b", "generate_logs", "answer", "openai/gpt-9", None, None, None, "it failed"),
    ("c", "proxy_score", "judgement", "openai/gpt-4o", 1000, 500, 0.001, None),
    ("d", "draw_targets", "answer", "local/m", 1000, 500, 0.0, None),
)


def test_what_nobody_has_priced_is_counted_and_not_taken_for_free():
    found = cost_metrics(priced(BOUGHT, {}))
    assert (found["usd"], found["unpriced"], found["failed"]) == (0.001, 1, 1)
    assert found["by_model"]["openai/gpt-9"] == {
        "calls": 2, "failed": 1, "prompt_tokens": 1000, "completion_tokens": 500, "usd": 0.0,
        "unpriced": 1,
    }  # fmt: skip
    assert found["by_model"]["local/m"]["unpriced"] == 0


def test_replies_of_unknown_price_are_priced_when_it_is_known_and_no_other_is_changed():
    own = {"openai/gpt-9": Prices(input=2.0, output=8.0), "gpt-4o": Prices(input=9.0, output=9.0)}
    table = priced(BOUGHT, own)
    assert table["cost_usd"].tolist()[::2] == pytest.approx([0.006, 0.001])
    assert cost_metrics(table)["unpriced"] == 0
    assert BOUGHT["cost_usd"].tolist()[0] == 0.0
