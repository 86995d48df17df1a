"""Chat templates: the text of a prompt as a model's own template has it.

Rendered as transformers does, with Jinja in a sandbox, so that a server which completes texts is
given the very prompt that its chat interface would make. `strftime_now` is not there: a prompt with
today's date would be another request every day.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from cje.errors import CJEError

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA_3 = (
    "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + "
    "'<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.first %}{% set content = '<|begin_of_text|>' + content %}{% endif %}"
    "{{ content }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
CLASSICS = {"chatml": CHATML, "llama-3": LLAMA_3}
CONFIG = "tokenizer_config.json"


def render_prompt(
    template: str, messages: Sequence[tuple[str, str]], known: str | None = None
) -> str:
    """The prompt of (role, content) pairs, open for the assistant's answer.

    `template`: a name of `CLASSICS`, a .jinja file, a tokenizer's folder or its
    tokenizer_config.json. Raises CJEError for one that cannot be read or refuses the messages, or
    whose sum is not the `known` one, on which the run depends.
    """
    compiled, tokens, found = _compiled(template)
    if known not in (None, found):
        raise CJEError(
            f"chat_template: {template} has changed since the settings were checked; run cje run, "
            "or dvc repro -s -f check_settings and then dvc repro"
        )
    turns = [{"role": role, "content": content} for role, content in messages]
    try:
        return compiled.render(
            messages=turns, tools=None, documents=None, add_generation_prompt=True, **tokens
        )
    except (jinja2.TemplateError, TypeError, ValueError, KeyError) as error:
        raise CJEError(f"chat_template: {template}: refuses the messages: {error}") from None


def template_sum(template: str) -> str:
    """16 hex digits of what the template is: its text and the special tokens that it may name.
    Raises CJEError as `render_prompt` does."""
    return _sum(*_source(template))


class _Generation(Extension):
    """What {% generation %} marks is rendered as it stands."""

    tags = {"generation"}  # noqa: RUF012  # as jinja2 declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


@cache
def _compiled(template: str) -> tuple[jinja2.Template, Mapping[str, str], str]:
    """The compiled template, the special tokens that it may name, and its sum."""
    source, tokens = _source(template)
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    try:
        compiled = environment.from_string(source)
    except jinja2.TemplateError as error:
        raise CJEError(f"chat_template: {template}: is not a valid template: {error}") from None
    return compiled, tokens, _sum(source, tokens)


def _sum(source: str, tokens: Mapping[str, str]) -> str:
    text = json.dumps([source, dict(tokens)], sort_keys=True)
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()


def _source(template: str) -> tuple[str, Mapping[str, str]]:
    if template in CLASSICS:
        return CLASSICS[template], {}
    path = Path(template)
    folder = path if path.is_dir() else path.parent
    config = folder / CONFIG
    try:
        known = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
        if path.suffix == ".jinja":
            source: Any = path.read_text(encoding="utf-8")
        elif (path.is_dir() or path.name == CONFIG) and folder.joinpath(CONFIG).is_file():
            beside = folder / "chat_template.jinja"
            source = beside.read_text("utf-8") if beside.is_file() else known.get("chat_template")
        else:
            raise CJEError(
                f"chat_template: {template}: is not a template; give a tokenizer's folder with its "
                f"{CONFIG}, a .jinja file, or one of {', '.join(CLASSICS)}"
            )
    except (OSError, ValueError) as error:
        raise CJEError(f"chat_template: {template}: cannot be read: {error}") from None
    if isinstance(source, list):
        source = {item["name"]: item["template"] for item in source}.get("default")
    if not isinstance(source, str):
        raise CJEError(f"chat_template: {template}: contains no template; give a .jinja file")
    contents = {key: _content(known[key]) for key in known if key.endswith("_token")}
    tokens = {key: token for key, token in contents.items() if isinstance(token, str)}
    for name in ("bos_token", "eos_token"):
        if name in source and name not in tokens:
            tokens[name] = ""
            if not known:
                raise CJEError(
                    f"chat_template: {template}: names {name}; put the model's {CONFIG} beside it"
                )
    return source, tokens


def _content(token: Any) -> Any:
    return token.get("content") if isinstance(token, Mapping) else token


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)
