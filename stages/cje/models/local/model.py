"""A causal language model in this process: its text, its logits, and answers a batch at a time.

Everything is float32 with full logits. Rows of a batch do not see each other: prompts are padded on
the left, answers on the right, and padding is masked; what all rows begin with (a system prompt, a
rubric) is read once. What is left of the batch in a logit is rounding, some 1e-5; where that could
decide (`cje.models.local.nucleus`), the position is evaluated again by itself, without padding or
cache, so that every batch decides alike.
"""

import contextlib
import functools
import hashlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jinja2 import TemplateError
from torch import Tensor

from cje.errors import CJEError
from cje.models.local.nucleus import Choice, Sampling

LOGITS_BYTES = {"cpu": 2**28, "cuda": 2**31}  # of the logits that a batch computes at once
BATCH_ROWS = {"cpu": 32, "cuda": 256}
BATCH_TOKENS = {"cpu": 2**14, "cuda": 2**17}  # of prompts and answers in a batch that samples
CHUNK_ROWS = {"cpu": 128, "cuda": 2048}  # rows of logits that are worked on together
Function = TypeVar("Function", bound=Callable[..., Any])
# Its type is told here: torch, which need not be installed, is not looked into.
no_gradients: Callable[[Function], Function] = torch.inference_mode()

SPLIT_CHARACTER = "\ufffd"  # what bytes decode to that are not a whole character


@dataclass(frozen=True)
class Answered:
    """A sampled answer: tokens and log-probabilities, the end token with them where it `ended`."""

    row: int
    token_ids: list[int]
    logprobs: list[float]
    ended: bool


class LocalModel:
    """A model and its tokenizer, as transformers load them from a folder or a GGUF file.

    `name` goes into replies with a hash of the files. Raises CJEError where they cannot be loaded.
    """

    def __init__(self, path: Path, name: str, device: str, threads: int | None):
        import transformers

        transformers.utils.logging.set_verbosity_error()
        torch.set_float32_matmul_precision("highest")
        available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2**16
        torch.set_num_threads(threads or min(torch.get_num_threads(), available))
        folder = path.parent if path.is_file() else path
        options = {"gguf_file": path.name} if path.is_file() else {}
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # progress bars
                self.tokenizer = transformers.AutoTokenizer.from_pretrained(
                    folder, local_files_only=True, **options
                )
                model = transformers.AutoModelForCausalLM.from_pretrained(
                    folder, dtype=torch.float32, local_files_only=True, **options
                )
            self.model = model.eval().requires_grad_(False).to(device)
        except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            raise CJEError(f"local/{name}: {path} cannot be loaded: {reason}") from error
        if not self.tokenizer.chat_template:
            raise CJEError(
                f"local/{name}: {path} has no chat template; give a model tuned to follow "
                "instructions"
            )
        if getattr(self.model, "_is_stateful", False):
            raise CJEError(
                f"local/{name}: {path} is a recurrent model, whose state cannot be padded or leave "
                "a batch; give a transformer"
            )
        self.name = name
        self.device = torch.device(device)
        self.served = f"local/{name}@{content_hash(path)}"
        self.context = getattr(self.model.config, "max_position_embeddings", None)
        ends = self.model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        own = self.tokenizer.eos_token_id  # the first to be appended to a text that ended
        self.end_ids = [e for e in dict.fromkeys([own, *ends]) if e is not None]

    # text

    def encode_chat(self, messages: Sequence[tuple[str, str]]) -> list[int]:
        """Tokens of messages (role, content) under the chat template, up to where the assistant
        begins to speak."""
        return self.encode(self.chat_text(messages))

    def chat_text(self, messages: Sequence[tuple[str, str]]) -> str:
        """The messages under the chat template, up to where the assistant begins to speak."""
        turns = [{"role": role, "content": content} for role, content in messages]
        try:
            text: str = self.tokenizer.apply_chat_template(
                turns, add_generation_prompt=True, tokenize=False
            )
            return text
        except TemplateError as error:
            roles = ", ".join(role for role, _ in messages)
            raise CJEError(
                f"local/{self.name}: its chat template takes no messages of {roles}: {error}"
            ) from error

    def encode(self, text: str) -> list[int]:
        """Tokens of a text, with none added."""
        token_ids: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        return token_ids

    def text(self, token_ids: Sequence[int]) -> str:
        """The text of tokens, without special ones."""
        return self._decode(token_ids, skip_special_tokens=True)

    def strings(self, token_ids: Sequence[int]) -> list[str]:
        """One string a token, special ones by name; joined they are the text. A character that
        several tokens make is the string of the last of them, and the others are empty."""
        strings: list[str] = []
        shown = start = 0  # tokens whose text is complete; where their last group began
        for end in range(1, len(token_ids) + 1):
            before = self._decode(token_ids[start:shown])
            text = self._decode(token_ids[start:end])
            if text.endswith(SPLIT_CHARACTER) and end < len(token_ids):
                strings.append("")
            else:
                strings.append(text[len(before) :])
                start, shown = shown, end
        return strings

    def _decode(self, token_ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        text: str = self.tokenizer.decode(
            list(token_ids),
            skip_special_tokens=skip_special_tokens,
            clean_up_tokenization_spaces=False,
        )
        return text

    # logits

    @no_gradients
    def logits(self, contexts: Sequence[list[int]], answers: Sequence[list[int]]) -> Tensor:
        """Logits (rows, longest answer, vocabulary) of each answer token given all before it.

        Places beyond a row's own answer hold logits of padding. No answer is empty, no context.
        """
        return self._read(contexts, [answer[:-1] for answer in answers])[0].logits

    @no_gradients
    def next_logits(self, token_ids: list[int]) -> Tensor:
        """Logits (1, vocabulary) of the token after these, which no batch has a part in."""
        tokens = self._tensor([token_ids])
        return self.model(tokens, use_cache=False, logits_to_keep=1).logits[:, -1]

    def _read(
        self, contexts: Sequence[list[int]], answers: Sequence[list[int]], keep_cache: bool = False
    ) -> tuple[Any, Tensor]:
        """The model's output from the last token of each context on, and what it may look at
        (rows, places). What all contexts begin with is read once."""
        shared = min(_beginning(contexts), min(map(len, contexts)) - 1)
        beginning = contexts[0][:shared]
        contexts = [context[shared:] for context in contexts]
        left, right = max(map(len, contexts)), max(map(len, answers))
        tokens = np.zeros((len(contexts), left + right), dtype=np.int64)
        seen = np.zeros((len(contexts), shared + left + right), dtype=np.int64)
        seen[:, :shared] = 1
        for row, (context, answer) in enumerate(zip(contexts, answers, strict=True)):
            begin, text = left - len(context), context + answer
            tokens[row, begin : begin + len(text)] = text
            seen[row, shared + begin : shared + begin + len(text)] = 1
        places = np.maximum(seen.cumsum(axis=1) - 1, 0)[:, shared:]
        cache = None
        if shared:
            cache = self.model(self._tensor([beginning]), use_cache=True, logits_to_keep=1).cache
            cache.batch_repeat_interleave(len(contexts))
        mask = torch.from_numpy(seen).to(self.device)
        out = self.model(
            torch.from_numpy(tokens).to(self.device),
            attention_mask=mask,
            position_ids=torch.from_numpy(places).to(self.device),
            cache=cache,
            use_cache=keep_cache or bool(shared),
            logits_to_keep=right + 1,
        )
        return out, mask

    # teacher forcing and sampling

    @no_gradients
    def score(
        self, contexts: Sequence[list[int]], answers: Sequence[list[int]], sampling: Sampling
    ) -> list[list[float]]:
        """Log-probabilities of each answer's tokens after its context."""
        logits = self.logits(contexts, answers)
        width, flat = logits.shape[1], logits.flatten(0, 1)
        chosen = self._tensor([[*answer, *[0] * (width - len(answer))] for answer in answers])
        chosen = chosen.flatten()
        values: list[float] = []
        doubts: list[bool] = []
        step = CHUNK_ROWS[self.device.type]
        for first in range(0, len(flat), step):
            chunk = slice(first, first + step)
            choice = sampling.score(flat[chunk], chosen[chunk])
            values += choice.logprobs.tolist()
            doubts += choice.doubtful.tolist()
        for row, answer in enumerate(answers):
            for at, token in enumerate(answer):
                if doubts[row * width + at]:
                    alone = self.next_logits(contexts[row] + answer[:at])
                    certain = sampling.score(alone, self._tensor([token]))
                    values[row * width + at] = certain.logprobs.item()
        starts = range(0, len(flat), width)
        return [values[at : at + len(answer)] for at, answer in zip(starts, answers, strict=True)]

    @no_gradients
    def sample(
        self,
        contexts: Sequence[list[int]],
        uniforms: Sequence[np.ndarray],
        sampling: Sampling,
    ) -> Iterator[Answered]:
        """An answer to each context, as they end. Row i takes `uniforms[i]` one by one, and has
        at most as many tokens."""
        out, seen = self._read(contexts, [[] for _ in contexts], keep_cache=True)
        said: list[list[int]] = [[] for _ in contexts]
        logprobs: list[list[float]] = [[] for _ in contexts]
        rows = list(range(len(contexts)))  # of the batch; those that are done leave it now and then
        done: set[int] = set()
        for step in range(max(map(len, uniforms))):
            cuts = [uniforms[row][step] if row not in done else 0.5 for row in rows]
            choice = sampling.draw(out.logits[:, -1], self._tensor(cuts, torch.float64))
            drawn = self._certain(choice, rows, done, contexts, said, cuts, sampling)
            for row, token, logprob in drawn:
                said[row].append(token)
                logprobs[row].append(logprob)
                ended = token in self.end_ids
                if ended or len(said[row]) == len(uniforms[row]):
                    done.add(row)
                    yield Answered(row, said[row], logprobs[row], ended)
            if len(done) == len(contexts):
                return
            left = [at for at, row in enumerate(rows) if row not in done]
            if len(left) <= len(rows) * 7 / 8:
                keep = self._tensor(left)
                out.cache.batch_select_indices(keep)
                rows, seen = [rows[at] for at in left], seen[keep]
            last = self._tensor([[said[row][-1]] for row in rows])
            seen = torch.cat([seen, seen.new_ones((len(rows), 1))], dim=1)
            out = self.model(
                last,
                attention_mask=seen,
                position_ids=seen.sum(-1, keepdim=True) - 1,
                cache=out.cache,
                use_cache=True,
                logits_to_keep=1,
            )

    def _certain(
        self,
        choice: Choice,
        rows: list[int],
        done: set[int],
        contexts: Sequence[list[int]],
        said: list[list[int]],
        cuts: list[float],
        sampling: Sampling,
    ) -> Iterator[tuple[int, int, float]]:
        """Row, token and log-probability of the rows that go on, doubts resolved."""
        columns = (choice.tokens.tolist(), choice.logprobs.tolist(), choice.doubtful.tolist())
        for row, cut, token, logprob, doubt in zip(rows, cuts, *columns, strict=True):
            if row in done:
                continue
            if doubt:
                alone = self.next_logits(contexts[row] + said[row])
                again = sampling.draw(alone, self._tensor([cut], torch.float64))
                token, logprob = again.tokens.item(), again.logprobs.item()
            yield row, token, logprob

    def _tensor(self, values: list[Any], dtype: torch.dtype = torch.long) -> Tensor:
        return torch.tensor(values, dtype=dtype, device=self.device)

    # batches

    def sampling_batches(self, lengths: Sequence[int], limits: Sequence[int]) -> list[list[int]]:
        """Rows in batches of like prompt `lengths`, answers of at most `limits` tokens."""
        order = sorted(range(len(lengths)), key=lambda row: (lengths[row], limits[row]))
        budget = BATCH_TOKENS[self.device.type]

        def fits(rows: list[int]) -> bool:
            longest = max(lengths[row] for row in rows) + max(limits[row] for row in rows)
            return len(rows) <= self.batch_rows and len(rows) * longest <= budget

        return _packed(order, fits)

    def scoring_batches(self, lengths: Sequence[int], answers: Sequence[int]) -> list[list[int]]:
        """Rows in batches of like prompt `lengths` and like numbers of tokens in the `answers`."""
        order = sorted(range(len(lengths)), key=lambda row: (lengths[row] // 8, answers[row]))
        budget = LOGITS_BYTES[self.device.type] // (4 * self.model.config.vocab_size)
        tokens = BATCH_TOKENS[self.device.type]

        def fits(rows: list[int]) -> bool:
            most = max(answers[row] for row in rows)
            longest = max(lengths[row] for row in rows) + most
            small = len(rows) * most <= budget and len(rows) * longest <= tokens
            return len(rows) <= self.batch_rows and small

        return _packed(order, fits)

    @property
    def batch_rows(self) -> int:
        """Rows of a batch at most: CJE_LOCAL_BATCH, or what suits the device."""
        return number_from("CJE_LOCAL_BATCH") or BATCH_ROWS[self.device.type]


def _packed(order: list[int], fits: Callable[[list[int]], bool]) -> list[list[int]]:
    batches: list[list[int]] = []
    for row in order:
        if batches and fits([*batches[-1], row]):
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


def _beginning(rows: Sequence[list[int]]) -> int:
    """How many tokens all rows begin with; 0 for one row, which shares nothing."""
    first, last = min(rows), max(rows)
    differ = (at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return next(differ, min(map(len, rows))) if len(rows) > 1 else 0


def number_from(variable: str) -> int | None:
    """The whole number, 1 or more, in an environment variable; None where it is not set."""
    text = os.environ.get(variable, "").strip()
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise CJEError(f"{variable}={text}: give a whole number, 1 or more")
    return int(text)


def content_hash(path: Path) -> str:
    """12 hex digits of what a model's file, or the files of its folder, hold."""
    digest = hashlib.blake2b(digest_size=6)
    folder = path.is_dir()
    for file in sorted(p for p in path.iterdir() if p.is_file()) if folder else [path]:
        if folder:
            digest.update(file.name.encode() + b"\0")
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "blake2b").digest())
    return digest.hexdigest()


@functools.lru_cache(maxsize=4)
def _loaded(path: Path, name: str, device: str, threads: int | None) -> LocalModel:
    return LocalModel(path, name, device, threads)


def load(path: Path, name: str) -> LocalModel:
    """The model, loaded once a process; device, threads and batches as the environment says."""
    wanted = os.environ.get("CJE_LOCAL_DEVICE", "").strip()
    device = wanted or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        kind = torch.device(device).type
    except RuntimeError:
        kind = None
    if kind not in BATCH_ROWS or (kind == "cuda" and not torch.cuda.is_available()):
        raise CJEError(f"CJE_LOCAL_DEVICE={wanted}: there is no such device here; give cpu or cuda")
    return _loaded(path.resolve(), name, device, number_from("CJE_LOCAL_THREADS"))
