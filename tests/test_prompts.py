"""The prompts that the project ships, and their checks: what a good answer does passes, what a bad
one does fails, and nothing passes by accident.

`data/arena_answers.jsonl` beside the tests has, for each prompt, answers that a careful person
calls good, and bad ones of the kinds that weak models give.
"""

import difflib
import json
import random
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from cje.data.tables import prompt_uids
from cje.judging.checks import Check, describe, parse_checks, passes
from pipeline import ROOT

PROMPTS = ROOT / "data/prompts/arena.jsonl"
ANSWERS = Path(__file__).parent / "data/arena_answers.jsonl"
MOST_WORDS = 25  # an answer of 48 tokens seldom has more than 37: a higher bound is no test
NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
).split()
OTHER_WORDS = {
    0: ("no ", "don't", "without", "never", "not ", "avoid", "skip", "zero", "free of", "n't "),
    1: ("single", "once", "an ", "a "),
    2: ("twice", "both", "pair", "couple"),
    12: ("dozen",),
    25: ("twenty-five", "twenty five"),
}
ACCIDENTS = [
    "",
    "Sure!",
    "Yes.",
    "No.",
    "I'm sorry, but I can't help with that.",
    "As an AI language model, I don't have personal opinions or experiences.",
    "Sure! Here is what you asked for. I hope this helps. Let me know if you need anything else!",
    "That's a great question! There are many factors to consider, and it depends on you.",
    "1. First, think about it.\n2. Then, do it.\n3. Finally, check it.",
    "- First, think about it.\n- Then, do it.\n- Finally, check it.",
    "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt.",
    "The answer is 42.",
    "# Title\n\n**Bold** text and `code`.\n\n```python\nprint('hello')\n```",
]


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@cache
def prompts() -> dict[str, dict]:
    """By uid: the row, and its checks, parsed."""
    rows = read(PROMPTS)
    uids = prompt_uids([row["prompt"] for row in rows])
    return {
        uid: row | {"parsed": parse_checks(json.dumps(row["checks"]), f"line {line}")}
        for line, (uid, row) in enumerate(zip(uids, rows, strict=True), start=1)
    }


@cache
def answers() -> dict[str, dict]:
    return {row["uid"]: row for row in read(ANSWERS)}


def all_hold(checks: list[Check], answer: str) -> bool:
    return all(passes(check, answer) for check in checks)


def plain(text: str) -> str:
    text = re.sub(r"\s+", " ", text.casefold())
    return text.replace("’", "'").replace("“", '"').replace("”", '"')


def unstated(check: Check, prompt: str) -> str | None:
    """What the check wants and the prompt does not say."""
    prompt = plain(prompt)
    if check.check in ("starts", "ends") and plain(check.with_) not in prompt:
        return check.with_
    wanted = {"exclude": "words", "choice": "of"}.get(check.check)
    for word in getattr(check, wanted) if wanted else ():
        if plain(word) not in prompt:
            return word
    if check.check == "include_any" or not hasattr(check, "bounds"):
        return None
    for number in {bound for bound in check.bounds if bound is not None}:
        implied = number in (0, 1) and (check.check == "include" or check.exactly is None)
        forms = [str(number), *NUMBERS[number : number + 1], *OTHER_WORDS.get(number, ())]
        if not implied and not any(form in prompt for form in forms):
            return str(number)
    return None


def test_there_are_a_thousand_prompts_of_many_tasks_and_lengths():
    rows = list(prompts().values())
    assert len(rows) == 1000
    tasks = Counter(row["task"] for row in rows)
    assert len(tasks) >= 150 and max(tasks.values()) <= 8
    lengths = sorted(len(row["prompt"].split()) for row in rows)
    assert lengths[0] <= 8 and lengths[-1] >= 80 and 20 <= lengths[500] <= 40
    openings = Counter(" ".join(row["prompt"].split()[:2]).casefold() for row in rows)
    assert max(openings.values()) <= 25
    assert all(set(row) == {"area", "task", "prompt", "checks", "parsed"} for row in rows)
    areas = Counter(row["area"] for row in rows)
    assert len(areas) == 7 and min(areas.values()) >= 50
    assert len({(row["area"], row["task"]) for row in rows}) == len(tasks)  # a task is of one area


def test_no_prompt_is_another_with_a_word_changed():
    words = [(uid, re.findall(r"\w+", row["prompt"].casefold())) for uid, row in prompts().items()]
    sets = [set(own) for _, own in words]
    for i, (uid, own) in enumerate(words):
        for j in range(i):
            if len(sets[i] & sets[j]) > 0.6 * len(sets[i] | sets[j]):
                ratio = difflib.SequenceMatcher(None, own, words[j][1], autojunk=False).ratio()
                assert ratio <= 0.75, (prompts()[uid]["prompt"], prompts()[words[j][0]]["prompt"])


def test_the_kinds_of_checks_are_many_and_none_rules():
    kinds = Counter(check.check for row in prompts().values() for check in row["parsed"])
    assert len(kinds) >= 25 and "language" not in kinds  # which needs a package
    assert all(1 <= len(row["parsed"]) <= 3 for row in prompts().values())
    contents = {"include", "include_any"}
    assert all(n <= 350 for kind, n in kinds.items() if kind not in contents)


def test_what_a_check_wants_is_said_in_its_prompt():
    found = [
        (row["prompt"], describe(check), lacking)
        for row in prompts().values()
        for check in row["parsed"]
        if (lacking := unstated(check, row["prompt"])) is not None
    ]
    assert not found, found[:3]


def test_bounds_can_be_missed_and_met_in_forty_eight_tokens():
    for row in prompts().values():
        for check in row["parsed"]:
            if check.check == "words":
                low, high = check.bounds
                assert low <= 30, row["prompt"]
                assert low > 1 or high <= MOST_WORDS, row["prompt"]


def test_every_prompt_has_answers_to_try_its_checks_on():
    assert list(answers()) == list(prompts())
    for row in answers().values():
        assert len(set(row["good"])) >= 2 and len(set(row["bad"])) >= 2


def test_good_answers_pass_every_check():
    wrong = [
        (row["prompt"], describe(check), answer)
        for uid, row in prompts().items()
        for answer in answers()[uid]["good"]
        for check in row["parsed"]
        if not passes(check, answer)
    ]
    assert not wrong, wrong[:3]


def test_bad_answers_fail_and_every_check_finds_one_of_them():
    for uid, row in prompts().items():
        bad = answers()[uid]["bad"]
        for answer in bad:
            assert not all_hold(row["parsed"], answer), (row["prompt"], answer)
        for check in row["parsed"]:
            assert not all(passes(check, answer) for answer in bad), (row["prompt"], check)


@pytest.mark.parametrize("accident", ACCIDENTS)
def test_an_answer_that_fits_any_prompt_passes_none(accident):
    passed = [row["prompt"] for row in prompts().values() if all_hold(row["parsed"], accident)]
    assert not passed


def test_the_prompt_itself_is_no_answer():
    passed = [r["prompt"] for r in prompts().values() if all_hold(r["parsed"], r["prompt"])]
    assert not passed


def test_answers_to_other_prompts_seldom_pass():
    everything = [(uid, text) for uid, row in answers().items() for text in row["good"]]
    chance = random.Random(1)
    for uid, row in prompts().items():
        others = [text for of, text in chance.sample(everything, 60) if of != uid]
        assert sum(all_hold(row["parsed"], text) for text in others) <= 3, row["prompt"]
