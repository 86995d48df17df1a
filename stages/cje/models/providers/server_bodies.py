"""The bodies of calls to servers with an API like OpenAI's, and the defaults that they switch
off."""

import hashlib
from typing import Any

from cje.models.providers.structured import json_schema, verdict_turns
from cje.models.requests import Request, required

ALL_TOKENS = 1_000_000  # of top_k: beyond any vocabulary
# Switches off what a server does to its model's distribution beside temperature and top_p, by the
# names of OpenAI, vLLM, SGLang, TGI, llama.cpp, llama-cpp-python and others; servers ignore names
# that they do not know. All that know top_k accept one larger than the vocabulary; some refuse 0,
# some -1.
PLAIN: dict[str, float] = {
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "top_k": ALL_TOKENS,
    "min_p": 0.0,
    "typical_p": 1.0,
    "tfs_z": 1.0,
    "top_n_sigma": -1.0,
    "repetition_penalty": 1.0,
    "repeat_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "dry_multiplier": 0.0,
    "xtc_probability": 0.0,
    "dynatemp_range": 0.0,
    "mirostat": 0,
    "mirostat_mode": 0,
}
# Parameters that a call can do without where the server refuses them; whether its defaults then
# matter shows in the probe.
OPTIONAL = {
    *PLAIN,
    *("seed", "logprobs", "top_logprobs", "return_token_ids", "add_special_tokens"),
    *("response_format", "chat_template_kwargs"),
}


def answer_body(request: Request, refused: set[str]) -> dict[str, Any]:
    """The body of a call for an answer, `model` aside, without what the server refuses."""
    prompt = request.option("prompt")
    body: dict[str, Any] = {"max_tokens": request.max_tokens, **PLAIN, "return_token_ids": True}
    body |= {"temperature": request.temperature, "top_p": request.top_p}
    body["seed"] = None if request.seed is None else call_seed(request)
    body |= thinking(request)
    if prompt is None:
        body |= {"messages": _turns(request), "logprobs": True, "top_logprobs": 1}
        if "logprobs" in refused:
            del body["top_logprobs"]
    else:
        body |= {"prompt": prompt, "logprobs": 1, "add_special_tokens": False}
    body |= request.extra_body
    return without({k: v for k, v in body.items() if v is not None}, refused)


def thinking(request: Request) -> dict[str, Any]:
    """The settings of how much to think: OpenAI's, and the switch in the templates of models that
    can only think or not."""
    effort = request.option("reasoning_effort")
    if effort is None:
        return {}
    switch = {"enable_thinking": effort != "none"}
    return {"reasoning_effort": effort, "chat_template_kwargs": switch}


def judgement_body(request: Request, refused: set[str]) -> dict[str, Any]:
    """The body of a call for a verdict; the schema is put in the prompt where the server takes no
    `response_format`."""
    in_prompt = "response_format" in refused
    body: dict[str, Any] = {
        "messages": verdict_turns(request, in_prompt),
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
    }
    if not in_prompt:
        body["response_format"] = json_schema(required(request.schema))
    return body | request.extra_body


def call_seed(request: Request) -> int:
    """31 bits from the random draw that the request names."""
    name = f"{request.seed}/{request.uid}/{request.draw}"
    if request.attempt:
        name = f"{name}/{request.attempt}"
    digest = hashlib.blake2b(name.encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1


def _turns(request: Request) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in request.messages]


def without(body: dict[str, Any], refused: set[str]) -> dict[str, Any]:
    return {k: v for k, v in body.items() if k not in refused}


def path_of(request: Request) -> str:
    """Where an answer is asked for: completions take a prompt that is rendered."""
    rendered = request.option("prompt") is not None
    return "/completions" if rendered else "/chat/completions"
