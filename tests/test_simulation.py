"""The simulated world: exact probabilities, and answers that depend on nothing but their name."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2, spearmanr

from cje import CJEError
from cje.data.tables import LOGGED, check_table
from cje.models.lookup import check_model, provider_for
from cje.models.names import split_model
from cje.models.provider import Judging
from cje.models.providers.sim import PROVIDER
from cje.models.providers.simulation import (
    BIGRAMS,
    END_ID,
    JUDGES,
    MODELS,
    TOKEN_ID,
    VOCABULARY,
    Speaker,
    decode,
    encode,
    exact_exp,
    exact_log,
    judged,
    sampling_keys,
    topic_pull,
    true_utility,
    utilities,
)
from cje.settings import Policy

PROMPTS = [f"Tell me about {i}." for i in range(400)]
FALSE_ALARM = 1e-4


def keys(name="x", draw=0, prompts=PROMPTS):
    return sampling_keys(1, prompts, name, draw)


def policy(model="base", name="p", **changes):
    values = {"temperature": 0.7, "top_p": 0.9, "max_tokens": 40} | changes
    return Policy(name=name, model=f"sim/{model}", **values)


def prompt_frame(n=50):
    return PROVIDER.prompts("arena", n, 42)


SPEAKERS = st.builds(
    Speaker,
    st.sampled_from(sorted(MODELS)),
    st.sampled_from([None, "Be brief.", "Be kind."]),
    st.sampled_from([0.0, 0.4, 0.7, 1.0, 1.5]),
    st.sampled_from([0.3, 0.9, 1.0]),
)


@settings(max_examples=20, deadline=None)
@given(SPEAKERS)
def test_a_policy_scores_its_own_answers_as_it_sampled_them_to_the_bit(speaker):
    drawn = speaker.sample(PROMPTS[:40], keys(prompts=PROMPTS[:40]), 40)
    scored = speaker.score(PROMPTS[:40], drawn.tokens, drawn.lengths)
    np.testing.assert_array_equal(scored, drawn.logps)
    assert np.isfinite(drawn.logps).all() and (drawn.logps <= 0).all()
    assert (drawn.finished == (drawn.tokens == END_ID).any(axis=1)).all()


def test_an_answer_does_not_depend_on_its_batch_or_place():
    speaker = Speaker("base", None, 0.7, 0.9)
    whole = speaker.sample(PROMPTS, keys(), 40)
    some = [301, 7, 399]
    part = speaker.sample([PROMPTS[i] for i in some], keys()[some], 40)
    np.testing.assert_array_equal(part.tokens, whole.tokens[some])
    np.testing.assert_array_equal(part.logps, whole.logps[some])
    again = speaker.sample(PROMPTS, keys(draw=1), 40)
    assert (again.tokens != whole.tokens).any(axis=1).mean() > 0.99


def test_tokens_come_as_often_as_their_probabilities_say():
    speaker = Speaker("base", None, 0.7, 0.9)
    prompts = ["the same prompt"] * 20_000
    names = sampling_keys(3, [str(i) for i in range(20_000)], "x", 0)
    first = speaker.sample(prompts, names, 1).tokens[:, 0]
    every = np.arange(len(VOCABULARY))[:, None]
    logps = speaker.score(["the same prompt"] * len(every), every, np.ones(len(every), int))[:, 0]
    probability = np.exp(logps)
    assert probability.sum() == pytest.approx(1)
    count = np.bincount(first, minlength=len(VOCABULARY))
    likely = probability > 0
    assert count[~likely].sum() == 0
    expected = 20_000 * probability[likely]
    statistic = ((count[likely] - expected) ** 2 / expected).sum()
    assert statistic < chi2.ppf(1 - FALSE_ALARM, likely.sum() - 1)


def test_the_nucleus_is_the_fewest_tokens_that_reach_top_p():
    logits = BIGRAMS[END_ID] + topic_pull(["x"])[0] + Speaker("base").tilt()
    logits[END_ID] = -64
    probability = np.exp(logits / 0.7) / np.exp(logits / 0.7).sum()
    order = np.argsort(-probability)
    size = int((probability[order].cumsum() < 0.9).sum()) + 1
    every = np.arange(len(VOCABULARY))[:, None]
    speaker = Speaker("base", None, 0.7, 0.9)
    logps = speaker.score(["x"] * len(every), every, np.ones(len(every), int))[:, 0]
    assert set(np.flatnonzero(np.isfinite(logps))) == set(order[:size])
    kept = probability[order[:size]]
    np.testing.assert_allclose(np.exp(logps[order[:size]]), kept / kept.sum(), rtol=1e-12)


def test_weights_average_one_where_the_logs_reach_the_target():
    base, target = Speaker("base", None, 1.0, 1.0), Speaker("better", None, 1.0, 1.0)
    prompts = [f"{i}" for i in range(4000)]
    drawn = base.sample(prompts, sampling_keys(5, prompts, "b", 0), 40)
    scored = target.score(prompts, drawn.tokens, drawn.lengths)
    weight = np.exp((scored - drawn.logps).sum(axis=1))
    assert abs(weight.mean() - 1) < 4 * weight.std() / np.sqrt(4000)
    values = utilities(prompts, drawn.tokens, drawn.lengths)
    fresh = target.sample(prompts, sampling_keys(5, prompts, "t", 0), 40)
    direct = utilities(prompts, fresh.tokens, fresh.lengths)
    error = np.hypot((weight * values).std(), direct.std()) / np.sqrt(4000)
    assert abs((weight * values).mean() - direct.mean()) < 4 * error


def test_words_that_a_policy_cannot_say_have_probability_zero():
    tokens, lengths = encode(["zebra the answer", "the answer shows"])
    assert tokens[0, 0] == -1
    logps = Speaker("base").score(["x", "x"], tokens, lengths)
    assert logps[0, 0] == -np.inf and np.isfinite(logps[1]).all()


def test_text_and_tokens_round_trip():
    drawn = Speaker("base", None, 0.7, 0.9).sample(PROMPTS, keys(), 40)
    tokens, lengths = encode(decode(drawn))
    assert (lengths == drawn.lengths - drawn.finished).all()
    assert (tokens[3, : lengths[3]] == drawn.tokens[3, : lengths[3]]).all()


def test_greedy_answers_are_certain():
    drawn = Speaker("base", None, 0.0, 0.9).sample(PROMPTS, keys(), 40)
    other = Speaker("base", None, 0.0, 0.9).sample(PROMPTS, keys("y"), 40)
    assert (drawn.logps == 0).all()
    np.testing.assert_array_equal(drawn.tokens, other.tokens)


def test_arithmetic_of_our_own_is_as_good_as_the_librarys():
    x = np.linspace(-64, 0, 100_001)
    np.testing.assert_allclose(exact_exp(x), np.exp(x), rtol=5e-16)
    y = np.geomspace(1e-25, 64, 100_001)
    np.testing.assert_allclose(exact_log(y), np.log(y), rtol=1e-15, atol=1e-15)


def test_an_answer_that_is_missing_is_not_judged():
    answers = pd.DataFrame({"prompt": ["Why?", "How?"], "answer": [None, "Because it is so."]})
    found = PROVIDER.judge(answers, "judge", Judging((0, 10), seed=1))
    assert np.isnan(found["score"][0]) and found["reason"][0] == "there is no answer"
    assert 0 <= found["score"][1] <= 10 and found["reason"][1] is None


def test_judges_differ_in_noise_and_in_what_fools_them():
    drawn = Speaker("base", None, 0.7, 0.9).sample(PROMPTS, keys(), 40)
    texts = decode(drawn)
    scores = {name: judged(name, PROMPTS, texts, 0) for name in JUDGES}
    assert all(((s >= 0) & (s <= 1)).all() for s in scores.values())
    ranks = {name: spearmanr(scores["oracle"], s)[0] for name, s in scores.items()}
    assert 0.5 < ranks["judge"] < 0.75 and ranks["noisy-judge"] < ranks["judge"]
    np.testing.assert_array_equal(scores["judge"], judged("judge", PROMPTS, texts, 0))
    assert (scores["judge"] != judged("judge", PROMPTS, texts, 1)).mean() > 0.5
    flatter = decode(Speaker("unhelpful", None, 0.7, 0.9).sample(PROMPTS, keys(), 40))
    assert judged("judge", PROMPTS, flatter, 0).mean() > scores["judge"].mean()
    assert judged("oracle", PROMPTS, flatter, 0).mean() < scores["oracle"].mean() - 0.15


def test_true_utility_is_as_precise_as_asked():
    prompts = PROMPTS[:50]
    speaker = Speaker("better", None, 0.7, 0.9)
    coarse, error = true_utility(speaker, prompts, 40, tolerance=4e-3)
    fine, finer = true_utility(speaker, prompts, 40, tolerance=1.5e-3)
    assert error <= 4e-3 and finer <= 1.5e-3
    assert abs(coarse - fine) < 4.5 * np.hypot(error, finer)
    assert fine > true_utility(Speaker("base", None, 0.7, 0.9), prompts, 40, tolerance=2e-3)[0]


def test_the_provider_gives_the_tables_of_the_pipeline():
    prompts = check_table(prompt_frame(), "prompts")
    assert prompts["prompt"].is_unique and (prompts["source"] == "sim/arena").all()
    logs = PROVIDER.generate(prompts, policy(), draw=LOGGED, seed=1).assign(action="p")
    logs = check_table(logs, "logs")
    draws = PROVIDER.generate(prompts, policy(), draw=0, seed=1).assign(policy="p", draw=0)
    draws = check_table(draws, "draws")
    assert (draws["answer"] != logs["answer"]).mean() > 0.9
    scored = PROVIDER.score(logs, policy(), author=policy()).assign(policy="p")
    scored = check_table(scored, "target_logps")
    np.testing.assert_array_equal(scored["sequence_logp"], logs["sequence_logp"])
    for tokens, logps in zip(logs["tokens"], logs["token_logprobs"], strict=True):
        assert len(tokens) == len(logps) <= 40
    judgements = PROVIDER.judge(logs, "judge", Judging((1, 5), seed=0))
    assert judgements["score"].between(1, 5).all()


def test_prompts_of_a_larger_sample_contain_those_of_a_smaller():
    small, large = prompt_frame(20), prompt_frame(200)
    assert list(large["uid"][:20]) == list(small["uid"])


def test_two_policies_of_one_model_draw_independently():
    prompts = prompt_frame()
    one, two = (PROVIDER.generate(prompts, policy(name=n), draw=0, seed=1) for n in "ab")
    assert (one["answer"] != two["answer"]).mean() > 0.9


def test_a_setting_left_out_is_one():
    prompts = prompt_frame()
    left_out = policy(temperature=None, top_p=None)
    frames = [
        PROVIDER.generate(prompts, p, draw=0, seed=1)
        for p in (left_out, policy(temperature=1.0, top_p=1.0))
    ]
    pd.testing.assert_frame_equal(*frames)


@pytest.mark.parametrize(
    "model, parts",
    [
        ("sim/base", ("sim", "base")),
        ("openai/gpt-4o", ("openai", "gpt-4o")),
        ("gpt-4o-mini", ("openai", "gpt-4o-mini")),
        ("o3", ("openai", "o3")),
        ("claude-opus", ("anthropic", "claude-opus")),
        ("server/org/model", ("server", "org/model")),
    ],
)
def test_a_models_name_tells_its_provider(model, parts):
    assert split_model(model) == parts


def test_what_no_provider_has_is_named_with_what_there_is():
    with pytest.raises(CJEError, match=r"nope/x: there is no provider 'nope'; there are anthr"):
        provider_for("nope/x")
    with pytest.raises(
        CJEError, match=r"base_model: sim/judge is not a simulated policy; .*sim/base"
    ):
        check_model("sim/judge", "policy", "base_model")
    with pytest.raises(CJEError, match="proxy_model: sim/base is not a simulated judge"):
        check_model("sim/base", "judge", "proxy_model")
    with pytest.raises(CJEError, match="sim/other is not a simulated set of prompts"):
        PROVIDER.prompts("other", 5, 0)
    with pytest.raises(CJEError, match="max_samples: 99999 is not allowed; sim/arena has 12,000"):
        PROVIDER.prompts("arena", 99_999, 0)


def test_the_words_traits_are_in_the_vocabulary():
    from cje.models.providers.simulation import BAD, GOOD, STYLISH

    assert set(TOKEN_ID) >= GOOD | BAD | STYLISH and not GOOD & BAD
