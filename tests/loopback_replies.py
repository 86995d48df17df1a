"""The bodies of the loopback server's good replies, from `loopback_model`."""

import json
import math
import re
from copy import copy
from itertools import accumulate
from typing import Any, Literal, NamedTuple
from zlib import crc32

from loopback_model import (
    BOS,
    CREATED,
    END,
    FIRST_WORD,
    UNSEEN,
    Body,
    Distribution,
    Refused,
    encode,
    sample,
    steps,
    string,
)

Support = Literal["yes", "ignored", "refused"]


class Switches(NamedTuple):
    """What a server of the OpenAI kind can do; `nonsense` echoes tokens that are not the prompt's.

    `form`: llama.cpp's completions have log-probabilities in the chat form (and its `echo` is
    `ignored`); max_tokens = 0 has no limit in llama-cpp-python. `bos`: a begin token starts a
    prompt given as text, and the chat template's. `end_token`: the end token has a log-probability
    among the answer's, as vLLM gives it. `own`: how it samples of itself, by the names that it
    obeys (top_k, min_p, repeat_penalty), or, if it is `deaf`, does not. `processed`: sampled tokens
    have log-probabilities after temperature.
    """

    echo: Literal["yes", "ignored", "refused", "nonsense"] = "yes"
    prompt_logprobs: Support = "yes"
    logprobs: Support = "yes"
    tokenize: bool = True
    form: Literal["vllm", "llama.cpp", "llama-cpp-python"] = "vllm"
    bos: bool = False
    end_token: bool = False
    own: tuple[tuple[str, float], ...] = ()
    deaf: bool = False
    processed: bool = False

    def sampler(self, body: Body) -> Body:
        """The settings that a body is sampled by."""
        names = ("temperature", "top_p") if self.deaf else body
        return dict(self.own) | {n: body[n] for n in names if body.get(n) is not None}


def render(messages: list[Body], switches: Switches, generation_prompt: bool = True) -> str:
    """The chat template."""
    parts = ["<|begin|>" if switches.bos else ""]
    for message in messages:
        parts.append(f"<|im_start|>{message['role']}\n{plain(message['content'])}<|im_end|>\n")
    return "".join(parts) + ("<|im_start|>assistant\n" if generation_prompt else "")


SCHEMA = "Its JSON schema:\n"


def plain(content: str | list[Body]) -> str:
    """A message's text, given as a string or as blocks."""
    return content if isinstance(content, str) else "".join(b.get("text", "") for b in content)


def chat(body: Body, seed: str, switches: Switches) -> Body:
    """The reply of POST /v1/chat/completions."""
    model = checked(body, switches)
    prompt = render(body["messages"], switches)
    limit = body.get("max_completion_tokens") or body.get("max_tokens") or 64
    schema = (body.get("response_format") or {}).get("json_schema", {}).get("schema")
    if schema is None and (told := plain(body["messages"][-1]["content"]).partition(SCHEMA)[2]):
        schema = json.loads(told)  # the model does what the prompt asks
    if schema is None:
        ids = sample(model, prompt, seed, limit, switches.sampler(body))
    else:
        ids = [*encode(json.dumps(verdict(schema, body["messages"]))), END][:limit]
    told = [i for i in ids if i != END]
    choice: Body = {
        "index": 0,
        "message": {
            "role": "assistant",
            "content": "".join(map(string, told)),
            "refusal": None,
            "annotations": [],
        },
        "logprobs": None,
        "finish_reason": "stop" if ids[-1] == END else "length",
    }
    if body.get("logprobs") and switches.logprobs == "yes":
        rows = steps(model, prompt, ids if switches.end_token else told)
        rows = after_temperature(rows, body) if switches.processed else rows
        choice["logprobs"] = _chat_logprobs(rows, body.get("top_logprobs") or 0)
    reply = _head("chatcmpl", "chat.completion", body, seed, prompt, ids)
    if body.get("return_token_ids"):
        choice["token_ids"], reply["prompt_token_ids"] = ids, encode(prompt)
    return reply | {"choices": [choice]}


def completion(body: Body, seed: str, switches: Switches) -> Body:
    """The reply of POST /v1/completions, in vLLM's form."""
    model = checked(body, switches)
    prompt = body["prompt"]
    if isinstance(prompt, str):
        bos = switches.bos and body.get("add_special_tokens", True)
        ids = [BOS] * bos + encode(prompt)
    else:
        ids = list(prompt)
    text, limit, echo = "".join(map(string, ids)), body.get("max_tokens"), body.get("echo")
    limit = 16 if limit is None else limit
    if limit < 1 and switches.form == "llama-cpp-python":
        limit = 64
    if echo and switches.echo == "refused":
        raise Refused(400, "Echo is not supported by this server", "echo")
    if limit < 1 and not (echo and switches.echo == "yes"):
        raise Refused(400, f"max_tokens must be at least 1, got {limit}.", "max_tokens")
    if not ids:
        raise Refused(400, "The decoder prompt cannot be empty", "prompt")
    drawn = sample(model, text, seed, limit, switches.sampler(body))
    told = [i for i in drawn if i != END]
    echoed = ids if echo and switches.echo != "ignored" else []
    choice: Body = {
        "index": 0,
        "text": "".join(map(string, echoed + told)),
        "logprobs": None,
        "finish_reason": "stop" if drawn and drawn[-1] == END else "length",
        "stop_reason": None,
        "prompt_logprobs": None,
    }
    count = body.get("logprobs")
    if count is not None and count is not False and switches.logprobs == "yes":
        rows: list[Any] = steps(model, text, drawn if switches.end_token else told)
        rows = after_temperature(rows, body) if switches.processed else rows
        if echoed:
            rows = [(ids[0], None, None), *steps(model, string(ids[0]), ids[1:]), *rows]
        if echoed and switches.echo == "nonsense":
            rows = [(FIRST_WORD, p, d) for _, p, d in rows]
        if switches.form == "llama.cpp":
            choice["logprobs"] = _chat_logprobs(rows, int(count))
        else:
            choice["logprobs"] = _completion_logprobs(rows, int(count))
    wanted = body.get("prompt_logprobs")
    if wanted is not None and switches.prompt_logprobs == "refused":
        raise Refused(400, "prompt_logprobs is not supported by this server", "prompt_logprobs")
    if wanted is not None and switches.prompt_logprobs == "yes":
        rows = steps(model, string(ids[0]), ids[1:])
        choice["prompt_logprobs"] = [None] + [_ranked(i, p, d, wanted) for i, p, d in rows]
    if body.get("return_token_ids"):
        choice["token_ids"], choice["prompt_token_ids"] = drawn, ids
    reply = _head("cmpl", "text_completion", body, seed, text, drawn)
    return reply | {"choices": [choice]}


def message(body: Body, seed: str) -> Body:
    """The reply of POST /v1/messages."""
    model = body["model"]
    refuse_missing(model)
    for name in ("temperature", "top_p", "top_k"):
        if "-notemp" in model and body.get(name) is not None:
            raise Refused(400, f"`{name}` is deprecated for this model.", name)
    if not isinstance(body.get("max_tokens"), int):
        raise Refused(400, "max_tokens: Field required", "max_tokens")
    system = plain(body.get("system") or "")
    turns = [{"role": "system", "content": system}] * bool(system) + body["messages"]
    prompt, content, reason = render(turns, Switches()), [], "end_turn"
    choice = body.get("tool_choice") or {}
    tool = next((t for t in body.get("tools") or [] if t["name"] == choice.get("name")), None)
    schema = ((body.get("output_config") or {}).get("format") or {}).get("schema")
    if tool is not None:
        given, reason = verdict(tool["input_schema"], turns), "tool_use"
        ids = encode(json.dumps(given))
        use = {"type": "tool_use", "id": f"toolu_{seed[:20]}", "name": tool["name"], "input": given}
        content.append(use | {"caller": {"type": "direct"}})
    else:
        if schema is None:
            ids = sample(model, prompt, seed, body["max_tokens"], body)
        else:
            ids = [*encode(json.dumps(verdict(schema, turns))), END][: body["max_tokens"]]
        reason = "end_turn" if ids[-1] == END else "max_tokens"
        text = "".join(string(i) for i in ids if i != END)
        content.append({"type": "text", "text": text, "citations": None})
    usage = {
        "input_tokens": len(encode(prompt)),
        "output_tokens": len(ids),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "service_tier": "standard",
    }
    return {
        "id": f"msg_{seed[:24]}",
        "type": "message",
        "role": "assistant",
        "model": f"{model}-20260701",
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": usage,
    }


def tokenized(body: Body, switches: Switches) -> Body:
    """The reply of POST /tokenize, in vLLM's form."""
    if "messages" in body:
        text = render(body["messages"], switches, body.get("add_generation_prompt", True))
        ids = [BOS] * (switches.bos and body.get("add_special_tokens", False)) + encode(text)
    else:
        bos = switches.bos and body.get("add_special_tokens", True)
        ids = [BOS] * bos + encode(body["prompt"])
    strings = [string(i) for i in ids] if body.get("return_token_strs") else None
    return {"count": len(ids), "max_model_len": 4096, "tokens": ids, "token_strs": strings}


def verdict(schema: Body, messages: list[Body]) -> Body:
    """A value for every property of a schema: numbers by the last message, in the range that the
    schema, else the messages, state ("from 0 to 10"), else in [0, 1]."""
    judged = plain(messages[-1]["content"])
    unit = crc32(judged.encode()) / 2**32
    stated = re.search(
        r"(-?\d+(?:\.\d+)?) ?(?:to|and|-|–) ?(-?\d+(?:\.\d+)?)",
        "\n".join(plain(m["content"]) for m in messages),
    )
    low, high = (float(v) for v in stated.groups()) if stated else (0.0, 1.0)

    def fill(part: Body) -> Any:
        if "enum" in part:
            return part["enum"][int(unit * len(part["enum"]))]
        kind = part.get("type", "string")
        kind = kind[0] if isinstance(kind, list) else kind
        if kind in ("number", "integer"):
            least, most = part.get("minimum", low), part.get("maximum", high)
            value = least + unit * (most - least)
            return round(value) if kind == "integer" else round(value, 3)
        if kind == "object":
            return {name: fill(inner) for name, inner in part.get("properties", {}).items()}
        return {"boolean": unit < 0.5, "array": []}.get(
            kind, f"Judged by {len(judged)} characters."
        )

    return fill(schema)


def checked(body: Body, switches: Switches) -> str:
    """The model of a request of the OpenAI kind; raises Refused for what it does not take."""
    model = body["model"]
    refuse_missing(model)
    if body.get("n") not in (None, 1):
        raise Refused(400, "Only n = 1 is supported", "n", "unsupported_value")
    unsupported = "Unsupported parameter: '{}' is not supported with this model."
    if "-notemp" in model:
        for name in ("temperature", "top_p", "max_tokens", "logprobs"):
            if body.get(name) not in (None, False):
                raise Refused(400, unsupported.format(name), name, "unsupported_parameter")
    if body.get("logprobs") not in (None, False) and switches.logprobs == "refused":
        raise Refused(400, unsupported.format("logprobs"), "logprobs", "unsupported_parameter")
    return model


def refuse_missing(model: str) -> None:
    """404 for a model named missing-..."""
    if model.startswith("missing-"):
        raise Refused(404, f"The model `{model}` does not exist", "model", "model_not_found")


def after_temperature(rows: list[Any], body: Body) -> list[Any]:
    """The steps as a server with processed log-probabilities tells them."""
    temperature = body.get("temperature")
    power = 1 / (1.0 if temperature is None else temperature or 1.0)
    made = []
    for token, logp, there in rows:
        scaled = copy(there)
        total = math.log(sum(math.exp(p * power) for p in there.logps.values()))
        scaled.logps = {i: p * power - total for i, p in there.logps.items()}
        made.append((token, logp * power - total, scaled))
    return made


def _entry(token: int, logp: float) -> Body:
    text = string(token)
    return {"token": text, "logprob": logp, "bytes": list(text.encode())}


def _chat_logprobs(rows: list[tuple[int, float, Distribution]], count: int) -> Body:
    tops = [[_entry(i, there.logps[i]) for i in there.top[:count]] for _, _, there in rows]
    content = [_entry(i, p) | {"top_logprobs": t} for (i, p, _), t in zip(rows, tops, strict=True)]
    return {"content": content, "refusal": None}


def _ranked(token: int, logp: float, there: Distribution, count: int) -> Body:
    ranks = {i: k + 1 for k, i in enumerate(there.top)}
    chosen = dict.fromkeys([token, *there.top[:count]])
    return {
        str(i): {
            "logprob": there.logps.get(i, UNSEEN),
            "rank": ranks.get(i, len(ranks) + 1),
            "decoded_token": string(i),
        }
        for i in chosen
    }


def _completion_logprobs(rows: list[Any], count: int) -> Body:
    strings = [string(token) for token, _, _ in rows]
    tops = [
        None
        if there is None
        else {string(i): there.logps.get(i, UNSEEN) for i in dict.fromkeys([t, *there.top[:count]])}
        for t, _, there in rows
    ]
    return {
        "tokens": strings,
        "token_logprobs": [logp for _, logp, _ in rows],
        "top_logprobs": tops,
        "text_offset": list(accumulate(map(len, strings), initial=0))[:-1],
    }


def _head(prefix: str, kind: str, body: Body, seed: str, prompt: str, drawn: list[int]) -> Body:
    asked, given = len(encode(prompt)), len(drawn)
    usage = {"prompt_tokens": asked, "completion_tokens": given, "total_tokens": asked + given}
    return {
        "id": f"{prefix}-{seed}",
        "object": kind,
        "created": CREATED,
        "model": f"{body['model']}-2026-07-01",
        "system_fingerprint": "fp_loopback",
        "usage": usage,
    }
