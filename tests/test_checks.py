"""Checks: what each instruction lets pass and what not, strict specifications, and the judge."""

import json
import re
import sys
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cje.errors import CJEError
from cje.judging.checks import describe, language, parse_checks, passes, utility, write_checks
from cje.judging.checks.kinds import KINDS
from cje.judging.checks.numbers import final_number
from cje.judging.checks.sentences import split_sentences
from cje.judging.checks.text import Answer
from cje.models.lookup import provider_for
from cje.models.provider import Judging
from cje.models.providers.checks import JUDGE, check_prompts

FENCE = "```python\nTotal, Sum = 1, 2  # Not Prose!\n```"
TABLE = "| city | rain |\n|---|:-:|\n| Bergen | 2250 |\n| Oslo | 763 |"
BUDGET = {"check": "include", "words": ["budget"]}
EN = (
    "Sleep matters more than most people admit. A tired mind makes poor decisions, forgets names "
    "and loses patience with friends. Go to bed at the same hour each night."
)
DE = (
    "Schlaf ist wichtiger, als die meisten zugeben. Ein müder Kopf trifft schlechte "
    "Entscheidungen, vergisst Namen und verliert die Geduld mit Freunden, auch am Wochenende."
)
FR = (
    "Le sommeil compte plus que la plupart des gens ne l'admettent. Un esprit fatigué prend de "
    "mauvaises décisions, oublie les noms et perd patience avec ses amis."
)
ES = (
    "Dormir importa más de lo que la mayoría admite. Una mente cansada toma malas decisiones, "
    "olvida nombres y pierde la paciencia con los amigos."
)
PT = (
    "Dormir importa mais do que a maioria das pessoas admite. Uma mente cansada toma más "
    "decisões, esquece nomes e perde a paciência com os amigos."
)
NO = "Budsjettet for neste år gir lite rom for overraskelser, så vi utsetter det nye kjøkkenet."
NAMES = "Vienna, Salzburg, Graz, Linz, Innsbruck, Bregenz, " * 5
RU = "Сон важнее, чем думает большинство людей. Усталый ум принимает плохие решения."
UK = "Сон важливіший, ніж думає більшість людей. Втомлений розум приймає погані рішення."
JA = "睡眠は多くの人が思うより大切です。疲れた頭は悪い判断をします。"
ZH = "睡眠比大多数人承认的更重要。疲惫的头脑会做出错误的决定。"

CASES = [
    # Words that must and must not occur
    (BUDGET,
     ["The budget is set.", "BUDGET!", "a low-budget film", "our budget's end", "_budget_",
      "the “budget”", "Budget:\n- rent"],
     ["We budgeted.", "budgets", "the bud get", "", "prebudget", "bud-get"]),
    ({"check": "include", "words": ["climate change", "CO2"]},
     ["Climate\nchange and CO2.", "**climate** change; co2"],
     ["climate changes and CO2", "climate change", "change climate CO2", "climate change CO21"]),
    ({"check": "include", "words": ["art"], "exactly": 2}, ["art for art's sake"],
     ["art", "art starts apart", "art art art"]),
    ({"check": "include", "words": ["tea"], "at_most": 2}, ["tea", "tea, tea"],
     ["coffee", "tea tea tea", "team"]),
    ({"check": "include", "words": ["C++", "$5", "node.js"]},
     ["C++ and Node.js for $5.", "$5, (C++), node.js"],
     ["C+ node.js $5", "C++ node.js $50", "C++ node.js $5.50", "C++ nodexjs $5"]),
    ({"check": "include", "words": ["5"]}, ["5", "5, then", "take 5."],
     ["1.5", "50", "5,000", "A5"]),
    ({"check": "include", "words": ["预算"]}, ["我们的预算很小。"], ["我们预先计算。"]),
    ({"check": "include", "words": ["예산"]}, ["예산을 세웠다."], ["예상을 했다."]),
    ({"check": "include", "words": ["la la"]}, ["Ola la la"], ["Ola la", "la lah"]),
    ({"check": "include", "words": ["AI"]}, ["AI技术很好"], ["said", "AIs"]),
    ({"check": "include", "words": ["कम"]}, ["यह कम है"], ["यह कमी है", "कमल"]),
    ({"check": "include", "words": ["café"]}, ["un cafe\u0301 noir"], ["cafe", "cafés"]),
    ({"check": "include", "words": ["snake_case", "don't"]}, ["Don’t use snake_case."],
     ["do not use snake_case", "don't use snakecase"]),
    ({"check": "include", "words": ["AI"], "match_case": True}, ["AI is"], ["ai is", "Ai is"]),
    ({"check": "include_any", "words": ["oak", "elm", "ash"], "at_least": 2},
     ["Oak and ash.", "elm, oak, ash"], ["oak, oak", "soak the cash", "helmet and ash"]),
    ({"check": "exclude", "words": ["can", "very good"]},
     ["We can't.", "cannot", "Canada", "very, good", "goods"],
     ["We can.", "CAN", "very  good", "**very** good", "can-do", "", "  \n"]),
    ({"check": "exclude", "words": ["bad"]}, ["a badge"], ["so `bad`", "bad.", "_bad_"]),
    # Lengths
    ({"check": "words", "exactly": 5},
     ["It's a well-known fact, really.", "one — two three—four five",
      "1. one two\n2. three four five", "- a b\n- c d e",
      "[one two](https://x.org/a/b) three four 5.5", "今天很好啊",
      f"a b c\n{FENCE}\nd e",
      "# One two\n\nthree four five 🎉", "```\none two three four five\n```",
      "한국어 문장 하나 둘 셋", "don’t… stop and/or wait...go"],
     ["one two three four", "a b c d e f", "- - - - -", "well known fact it is so", "...", ""]),
    ({"check": "words", "at_least": 2, "at_most": 3}, ["a b", "a b c"], ["a", "a b c d", " "]),
    ({"check": "characters", "at_most": 5}, ["cafe\u0301s", "  abc  ", "a\r\nb c"],
     ["abcdef", "", "\t"]),
    ({"check": "sentences", "exactly": 2},
     ["Dr. Smith paid $3.50 for it. He left at 5 p.m. sharp.", "We met at 9 a.m. Then we left.",
      "She moved to the U.S. She likes it.", "Wait... what? No.", 'He said, "Stop!" Then he left.',
      "See https://example.com/a.b?c=1. It works.", "Use e.g. apples, pears, etc. Then stir.",
      "hello there. how are you?", "No. That is wrong.", "Take vitamin C. It helps.",
      "Es war am 3. Oktober. Dann ging er z. B. heim.", "¡Hola! ¿Qué hora es?", "- One.\n- Two",
      "1. Mix it.\n2. Bake it.", "# A title\n\nOne. Two.", "« Bonjour ! » dit-il. Il part.",
      "今天很好。我们去吧！", "Really?! Yes!!", "**One.** *Two.*", "यह पहला है। यह दूसरा है।",
      "One line\nruns on. Two.", "J. R. R. Tolkien met George W. Bush. They talked.",
      f"One.\n\n{FENCE}\n\nTwo.", "Great! 🎉 Next one.", "I love Yahoo! and tea. iPhones rock!",
      "Fine: one (see Fig. 3). Smith et al. (2020) agree.", "- It is so\nAnd then this.",
      "It was I. Bob knew.", "1. Mix it. 2. Bake it.", "what? no way.", "oh. 'why?' he asked."],
     ["One.", "One. Two. Three.", "Dr. Smith left.", "Pi is 3.14", "Well... maybe", "",
      "「行く。」と言った。", '"Stop!" he said.', "The U.S. Senate met on Jan. 5 at 9 a.m. Monday.",
      "No. 5 is best."]),
    ({"check": "questions"},
     ["Why?", "So. Why not?!", "为什么？", 'He asked, "Why?"', "## Why?\n\nSo."],
     ["Why.", "See https://x.org/?a=b now.", ""]),
    ({"check": "questions", "exactly": 0}, ["No.", "a?b"], ["No?", " "]),
    ({"check": "paragraphs", "exactly": 2},
     ["One.\n\nTwo.", "One\nline.\n\n\n \nTwo.", "# Title\n\nOne.\n\n---\n\nTwo.",
      "**Title**\n\nOne.\n\nTwo.", "One:\n- a\n- b\n\nTwo.", f"One.\n\n{TABLE}\n\nTwo.",
      f"One.\n\n{FENCE}\n\nTwo.", "One.\r\n\r\nTwo.", "1. a\n\n   more\n\nOne.\n\nTwo.",
      "Title\n=====\nOne.\n\nTwo.",
      f"**{'so it goes on and on ' * 3}**\n\nTwo."],
     ["One.\nTwo.", "One.", "A.\n\nB.\n\nC.", "# Title\n\nOne.", "- a\n\n- b", ""]),
    ({"check": "lines", "exactly": 3}, ["a\nb\nc", "a\n\nb\n\nc\n", "```\na\nb\nc\n```"],
     ["a\nb", "a b c", "a\nb\nc\nd"]),
    # Form
    ({"check": "bullets", "exactly": 3},
     ["- a\n- b\n- c", "* a\n* b\n* c", "• a\n•b\n• c", "– a\n– b\n– c", "  - a\n    - b\n\n+ c",
      "- [ ] a\n- [x] b\n- c", "---\n- a\n* * *\n- b\n- c", f"- a\n- b\n- c\n\n{FENCE}",
      "- **a**: x\n- b\n- *c*", "> - a\n> - b\n> - c"],
     ["- a\n- b", "*a* x\n*b* x\n*c* x", "**a**\n**b**\n**c**", "---\n***\n- - -", "-5\n-6\n-7",
      "1. a\n2. b\n3. c", "- \n- \n- ", "```yaml\n- a\n- b\n- c\n```", "a - b - c - d", ""]),
    ({"check": "bullets", "exactly": 0}, ["text", "1. one", "*a* b"], ["- a", " "]),
    ({"check": "numbered", "exactly": 3},
     ["1. a\n2. b\n3. c", "1) a\n2) b\n3) c", "(1) a\n(2) b\n(3) c", "1. a\n1. b\n1. c",
      "**1. a**\nx\n**2. b**\n**3.** c", "### 1. a\nx\n### 2. b\n### 3. c",
      "1. a\n   - x\n2. b\n\n3. c", "0. a\n1. b\n2. c", "In\n1984. It was.\n\n1. a\n2. b\n3. c"],
     ["- a\n- b\n- c", "1. a\n2. b", "1.5 a\n2.5 b\n3.5 c", "7. a\n9. b\n12. c", "1.\n2.\n3.",
      "a 1. b 2. c 3. d"]),
    ({"check": "headings", "exactly": 2}, ["# A\nx\n## B\ny", "A\n===\nx\n\nB\n---\ny"],
     ["#tag\n#tag", "# A", "**A**\nx\n**B**", "```py\n# a\n# b\n```", "#\n##",
      "Some text.\n---\nMore text.\n---"]),
    ({"check": "headings", "level": 2}, ["## A\nx", "# T\n\n## A"], ["# A", "### A"]),
    ({"check": "table"}, [TABLE, f"Here:\n\n{TABLE}\n\nDone.", "a | b\n- | -\n1 | 2"],
     ["| a | b |", "| a | b |\n| 1 | 2 |\n| 3 | 4 |", "| a | b |\n|---|---|", "a | b or c",
      f"```\n{TABLE}\n```\ntext", "| a | b |\n|---|\n| 1 | 2 |"]),
    ({"check": "table", "columns": 2, "exactly": 1}, [TABLE],
     [TABLE.replace("\n", " x |\n") + " x |", f"{TABLE}\n\n{TABLE}"]),
    ({"check": "code_block"}, [FENCE, "a\n~~~\nx\n~~~", "- a\n  ```\n  x\n  ```"],
     ["`x`", "```python\nx = 1", "```\n\n```", "```x```", "    x = 1"]),
    ({"check": "code_block", "language": "py"}, [FENCE, "```py\nx\n```", "```Python3\nx\n```"],
     ["```\nx\n```", "```js\nx\n```", "python\n```\nx\n```"]),
    ({"check": "bold", "exactly": 2},
     ["**a** and __b c__", "***a*** **b**", "<b>a</b> <strong>b</strong>", "**a *b* c** **d**"],
     ["**a**", "*a* *b*", "** a ** ** b **", "2**3 and 3**4", "`**a** **b**`", "****",
      "**a\nb** **c**"]),
    ({"check": "placeholder", "at_least": 2}, ["Dear [Name], of [City].", "[Your Name]: [date]"],
     ["[a](http://x) [b](http://y)", "[1] [2]", "- [ ] a\n- [x] b", "[^a] [^b]", "[] []",
      "`[a] [b]`", "x[i] y[j]", "[Name]"]),
    ({"check": "tag", "tag": "answer"}, ["<answer>4</answer>", "So: <Answer>\nx\n</Answer>"],
     ["<answer></answer>", "<answer>4", "answer 4", "</answer><answer>", "<answers>4</answers>"]),
    ({"check": "emoji", "exactly": 2}, ["🎉 and 🎉", "👩‍👩‍👧🏽 👍🏽", "🇫🇷🇩🇪", "❤️ ✔️", "1️⃣ 2️⃣",
      "⭐⭐", "ℹ️ ✅"],
     ["🎉", "🎉🎉🎉", "✓ ✓", "1 2", ":) :)", "© ®", "🇫🇷", "→ ★"]),
    ({"check": "emoji", "exactly": 0}, ["No. 1 © → ✓ #2*"], ["yes 🙂", ""]),
    ({"check": "capital_words", "at_least": 2}, ["NASA and ESA", "COVID-19, AIDS", "ÉTÉ CHAUD"],
     ["A I", "Nasa ESA", "NASA's ESa", "N A S A", "10 20"]),
    ({"check": "parts", "separator": "***", "exactly": 2},
     ["One\n***\nTwo", "***\nOne\n***\nTwo\n***"],
     ["One\n******\nTwo", "One", "One\n***\n", "a\n***\nb\n***\nc"]),
    ({"check": "parts", "separator": "******", "exactly": 2}, ["One\n******\nTwo"],
     ["One\n***\nTwo"]),
    # Letters and marks
    ({"check": "letter", "letter": "e", "at_most": 0}, ["A lipogram is short."],
     ["Each", "the", " "]),
    ({"check": "letter", "letter": "É", "exactly": 2}, ["e\u0301té"], ["ete", "été é"]),
    ({"check": "punctuation", "marks": "!", "at_most": 0}, ["So."], ["So!", "好！", ""]),
    ({"check": "punctuation", "marks": "—–", "exactly": 1}, ["a — b", "1–2"],
     ["a - b", "a — b – c"]),
    ({"check": "no_commas"}, ["a; b and c"], ["a, b", "1,000", "甲、乙", "甲，乙", "أ، ب", ""]),
    ({"check": "casing", "is": "lower"},
     ["all small, 1 to 3.", "see https://X.org/ABC or `Run()`", f"small\n{FENCE}", "straße",
      "été 中文"],
     ["One", "oNe", "123", "中文", "ÉTÉ", "", "see [Here](http://x.org)"]),
    ({"check": "casing", "is": "upper"}, ["ALL BIG 1!", "SEE https://x.org/abc", "GROß UND ÉTÉ"],
     ["All Big", "ALL BIg", "123", "ÉTé"]),
    ({"check": "casing", "is": "title"},
     ["The Lord of the Rings", "A Tale\nThe End", "It's an iPhone", "Well-Being 101",
      "NASA Goes Up"],
     ["The lord of the Rings", "the Lord", "THE LORD OF THE RINGS", "The\nend", "123"]),
    ({"check": "starts", "with": "Dear Anna"},
     ["Dear Anna, hello", "dear  anna", "**Dear Anna,**", "# Dear Anna", "“Dear Anna”",
      "\n Dear\nAnna", "```\nDear Anna\n```"],
     ["Dear Annabel", "My Dear Anna", "Dear, Anna", "Hi.\nDear Anna", ""]),
    ({"check": "starts", "with": "No", "match_case": True}, ["No.", "No, it's not"],
     ["no", "Nothing", "Not", "No1"]),
    ({"check": "ends", "with": "the end"},
     ["This is the end.", "… THE END!", "**the end**", "(the\nend)", "the end 'the end'"],
     ["the weekend", "bathe end", "the end of it", "the end. More", "the ends"]),
    ({"check": "ends", "with": "Any other questions?"},
     ["Ok. Any other questions?", '"Any other questions?"', "**Any other questions?**"],
     ["Any other questions", "Any other questions?!", "Any other questions? Ok.",
      "Many other questions?"]),
    ({"check": "quoted"},
     ['"All of it."', "“All of it.”", "«Tout.»", "„Alles.“", '"He said "yes" to me."', '*"So."*',
      "「全部」"],
     ['"Hi" she said "bye"', '"All of it.', "'All'", '""', '"', "“a” and “b”", 'He said "so"',
      "All", '"a"\n"b"']),
    # What is said
    ({"check": "language", "is": "en"},
     [EN, EN.upper(), f"{EN}\n\n> {DE}", f"{EN}\n\n{NAMES}", f"{FENCE}\n{EN}",
      "Our train left an hour late."],
     [DE, FR, NO, f"{EN}\n\n{DE} {DE}", f"{DE}\n\n{EN}", "1234 🎉", JA, "", RU]),
    ({"check": "language", "is": "de"}, [DE, "Unser Zug fuhr eine Stunde zu spät."], [EN, FR]),
    ({"check": "language", "is": "fr"}, [FR], [ES, f"{FR}\n\n{EN}"]),
    ({"check": "language", "is": "no"}, [NO], [EN, DE]),
    ({"check": "language", "is": "ru"}, [RU], [UK]),
    ({"check": "language", "is": "es"}, [ES], [PT, FR, EN]),
    ({"check": "language", "is": "pt"}, [PT], [ES]),
    ({"check": "language", "is": "uk"}, [UK], [RU, EN]),
    ({"check": "language", "is": "ja"}, [JA, "カタカナ"], [ZH, EN, f"{JA}\n\n{EN}"]),
    ({"check": "language", "is": "zh"}, [ZH, "我用 Python 写代码。"], [JA, EN]),
    ({"check": "json"},
     ['{"a": 1}', "[1, 2]", '```json\n{"a": [1]}\n```', "```\n[]\n```",
      '{"n": ' + "9" * 5000 + "}"],
     ["42", '"a"', "{'a': 1}", '{"a": 1,}', 'Here: {"a": 1}', '```json\n{"a": 1}\n```\nDone.',
      '{"a": NaN}', "[" * 99999, "null"]),
    ({"check": "json", "keys": ["name", "age"]},
     ['{"age": 1, "name": null, "x": 2}', '[{"name": 1, "age": 2}]'],
     ['{"name": "age"}', '{"x": {"name": 1, "age": 2}}', "[]",
      '[{"name": 1, "age": 2}, {"name": 1}]', '["name", "age"]', '{"Name": 1, "age": 2}']),
    ({"check": "regex", "pattern": r"\b\d{4}-\d{2}-\d{2}\b"}, ["On 2024-05-01."],
     ["On 2024-5-1.", "12024-05-01"]),
    ({"check": "regex", "pattern": "yes|no", "matches": "whole"}, ["yes", " no\n"],
     ["yes sir", "oh no", "Yes", ""]),
    ({"check": "regex", "pattern": r"(?i)\bfoo\b", "matches": "nowhere"}, ["food"], ["Foo!", " "]),
    ({"check": "number", "is": 42},
     ["The answer is 42.", "6 × 7 = 42", r"$\boxed{42}$", "**42**", "3 steps, so 42 km^2", "42.0",
      "$42", "42%", "4.2e1", "84/2"],
     ["42 or 43", "420", "4.2", "-42", "forty-two", "142", "42,5", "0.42", "42nd of 3", "42^2",
      ""]),
    ({"check": "number", "is": 1234567.5}, ["1,234,567.5", "1'234'567.5", "1234567,5"],
     ["1,234,567", "1.234.567,5"]),
    ({"check": "number", "is": 0.75}, [r"\boxed{\frac{3}{4}} in 2 steps", "p = .75", "3/4"],
     ["4", "3/4/5", "0.7"]),
    ({"check": "number", "is": 5}, ["3,4,5", "- 5 apples", "3, 4, 5"], ["3,4", "5,6"]),
    ({"check": "number", "is": 3200}, ["3.2 × 10^3", r"$3.2\times 10^{3}$", "3.2e3"], ["10^3"]),
    ({"check": "number", "is": -5}, ["x = -5", "−5°"], ["10-5", "- 5 apples", "5"]),
    ({"check": "number", "is": 3.14, "within": 0.01}, ["about 3.1416", "3.14"],
     ["3.16", "3.1", "3"]),
    ({"check": "choice", "of": ["yes", "no", "not sure"]},
     ["Yes.", "**no**", '"Not  sure"', "(NO)", "```\nyes\n```"],
     ["Yes, because.", "no no", "maybe", "sure", "yes or no", "nope", "Answer: yes"]),
    ({"check": "choice", "of": ["A", "B"]}, ["A", "(B)", "B."], ["C", "A) x", "AB", "A B"]),
]  # fmt: skip
SPECS = [spec for spec, _, _ in CASES]


def one(spec):
    return parse_checks(json.dumps([spec]), "here")[0]


def rows(which):
    return [
        pytest.param(spec, answer, id=f"{i}-{spec['check']}-{j}")
        for i, (spec, *answers) in enumerate(CASES)
        for j, answer in enumerate(answers[which])
    ]


@pytest.mark.parametrize(("spec", "answer"), rows(0))
def test_a_good_answer_passes(spec, answer):
    assert passes(one(spec), answer)


@pytest.mark.parametrize(("spec", "answer"), rows(1))
def test_a_bad_answer_fails(spec, answer):
    assert not passes(one(spec), answer)


def test_every_kind_has_good_and_bad_answers():
    assert {spec["check"] for spec in SPECS} == set(KINDS)
    assert all(good and bad for _, good, bad in CASES)


@pytest.mark.parametrize("blank", ["", " ", "\n\t\r\n", "\u00a0\u3000", "\u200b\ufeff", "\u2800"])
def test_a_blank_answer_passes_no_check(blank):
    assert not any(passes(one(spec), blank) for spec in SPECS)
    checks = parse_checks('[{"check": "no_commas"}]', "here")
    assert utility(checks, blank, "share") == utility(checks, blank, "all") == 0.0


# Specifications


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('{"check": "quoted"}', "must be a list"),
        ("[]", "must be a list"),
        ("[3]", "check 1: must be an object"),
        ('[{"words": 3}]', '"check": missing'),
        ('[{"check": "bulets"}]', "did you mean 'bullets'"),
        ('[{"check": 3}]', "3 is not known"),
        ('[{"check": "quoted"}, {"check": "zzz"}]', "check 2.*there are include"),
        ('[{"check": "words", "at_lest": 3}]', "'at_lest'; did you mean 'at_least'"),
        ('[{"check": "casing", "is_": "lower"}]', "unknown parameter 'is_'|'is' is missing"),
        ('[{"check": "quoted", "at_least": 1}]', "unknown parameter 'at_least'"),
        ('[{"check": "words"}]', "needs a bound"),
        ('[{"check": "letter", "letter": "e"}]', "needs a bound"),
        ('[{"check": "include"}]', "'words' is missing"),
        ('[{"check": "include", "words": []}]', "'words'"),
        ('[{"check": "include", "words": "budget"}]', "'words'"),
        ('[{"check": "include", "words": [" "]}]', "empty"),
        ('[{"check": "include", "words": ["a", "A"]}]', "twice"),
        ('[{"check": "include", "words": ["a"], "exactly": 0}]', "exclude"),
        ('[{"check": "include", "words": ["a"], "at_most": 0}]', "exclude"),
        ('[{"check": "include_any", "words": ["a"], "at_least": 2}]', "2 of 1"),
        ('[{"check": "words", "at_least": 9, "at_most": 8}]', "no answer can pass"),
        ('[{"check": "words", "exactly": 9, "at_most": 9}]', "not both"),
        ('[{"check": "words", "at_least": 0}]', "every answer"),
        ('[{"check": "words", "at_most": 0}]', "no answer has 0"),
        ('[{"check": "words", "at_least": -1}]', "'at_least'"),
        ('[{"check": "words", "at_least": "3"}]', "'at_least'"),
        ('[{"check": "words", "at_least": 3.0}]', "'at_least'"),
        ('[{"check": "words", "at_least": true}]', "'at_least'"),
        ('[{"check": "words", "at_least": 3, "at_least": 4}]', "twice"),
        ('[{"check": "words", "at_least": NaN}]', "NaN"),
        ('[{"check": "quoted"}, {"check": "quoted"}]', "same as check 1"),
        ('[{"check": "casing", "is": "Lower"}]', "'is'"),
        ('[{"check": "language", "is": "english"}]', "ISO 639-1"),
        ('[{"check": "regex", "pattern": "("}]', "unclosed group"),
        ('[{"check": "regex", "pattern": "(?=a)"}]', "look-around"),
        ('[{"check": "regex", "pattern": "(\\\\w{1,999}){1,999}"}]', "size limit"),
        ('[{"check": "regex", "pattern": ""}]', "'pattern'"),
        ('[{"check": "letter", "letter": "ee", "at_most": 1}]', "one letter"),
        ('[{"check": "punctuation", "marks": "a!", "at_most": 1}]', "punctuation marks"),
        ('[{"check": "tag", "tag": "<a>"}]', "bare name"),
        ('[{"check": "choice", "of": ["yes"]}]', "'of'"),
        ('[{"check": "headings", "level": 7}]', "'level'"),
        ('[{"check": "number", "is": "42"}]', "'is'"),
        ('[{"check": "number", "is": true}]', "'is'"),
        ('[{"check": "number", "is": 1, "within": -1}]', "'within'"),
    ],
)
def test_a_specification_is_read_strictly(text, words):
    with pytest.raises(CJEError, match=words) as error:
        parse_checks(text, "prompt 7")
    assert str(error.value).startswith("prompt 7: ")
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec["check"])
def test_checks_survive_writing_and_reading(spec):
    checks = parse_checks(json.dumps([spec]), "here")
    text = write_checks(checks)
    assert parse_checks(text, "there") == checks
    assert json.loads(text)[0].keys() == spec.keys()


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec["check"])
def test_a_description_is_one_sentence_that_names_the_parameters(spec):
    words = describe(one(spec))
    assert words[0].isupper() and words.endswith(".") and "None" not in words
    for key, value in spec.items():
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            assert str(value) in words, key
        if key in ("words", "of", "keys"):
            assert all(item in words for item in value)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"check": "words", "at_least": 20, "at_most": 60}, "Write 20 to 60 words."),
        ({"check": "bullets", "exactly": 1}, "Use exactly 1 bullet point."),
        ({"check": "emoji", "at_most": 0}, "Use no emoji."),
        (BUDGET | {"at_least": 2}, 'Include "budget" at least 2 times.'),
        ({"check": "exclude", "words": ["a", "b"]}, 'Do not use "a" or "b".'),
        ({"check": "language", "is": "de"}, "Write the whole answer in German."),
        ({"check": "letter", "letter": "e", "exactly": 0}, 'Use no letters "e".'),
        ({"check": "include_any", "words": ["a", "b"]}, 'Include at least 1 of "a" and "b".'),
    ],
)
def test_a_description_reads_like_an_instruction(spec, words):
    assert describe(one(spec)) == words


# Invariants

PIECES = (
    '- |* |1. |2) |# |### |```|```py|~~~|\n|\n\n|> |the |budget |Dr. |e.g. |… |... |? |! |. |, |"'
    "|“|”|«|»|**|__|*|_|`|[|]|](|)|<b>|</b>|\\||---|===|\t|\u00a0|中|。|カ|é|e\u0301|🎉|\u200d|\ufe0f"
    "|\ud800|\x00|\r|{|}|:|42|1,234|-5|3/4|10^3|https://x.org/?a=b. |a@b.org |ß|İ|ﬁ|𝐀"
).split("|")
TOKENS = st.sampled_from([*PIECES, "|", "| a | b |\n|---|---|\n"])
TEXTS = st.one_of(st.text(max_size=80), st.lists(TOKENS, max_size=25).map("".join))
SAMPLE_WORDS = st.sampled_from("Alpha beta gamma's delta-epsilon Ωmega naïve 3.5 don’t".split())


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_no_text_makes_a_check_raise(text):
    assert all(passes(one(spec), text) in (True, False) for spec in SPECS)


@settings(max_examples=150, deadline=None)
@given(TEXTS, st.sampled_from([" ", "\n", "\n\n", "\t ", "\r\n"]), st.sampled_from(SPECS))
def test_white_space_around_an_answer_changes_nothing(text, space, spec):
    assert passes(one(spec), space + text + space) == passes(one(spec), text)


@settings(max_examples=150, deadline=None)
@given(TEXTS, st.sampled_from(["the", "budget", "é", "42", "a b", "**"]))
def test_an_answer_includes_or_excludes_a_word(text, word):
    assume(not Answer(text).blank)
    included = passes(one({"check": "include", "words": [word]}), text)
    assert included != passes(one({"check": "exclude", "words": [word]}), text)


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.sampled_from("words sentences bullets lines emoji headings".split()))
def test_a_count_keeps_exactly_one_exact_bound(text, kind):
    assume(not Answer(text).blank)
    first = 0 if kind in ("emoji", "bullets", "headings") else 1
    counts = [n for n in range(first, 90) if passes(one({"check": kind, "exactly": n}), text)]
    assert len(counts) == 1 or (first == 1 and not counts)  # nothing but code, rules or marks
    for n in counts:
        assert passes(one({"check": kind, "at_most": max(n, 1)}), text)
        assert n == 0 or passes(one({"check": kind, "at_least": n}), text)
        assert not passes(one({"check": kind, "at_least": n + 1}), text)


@settings(max_examples=100, deadline=None)
@given(st.lists(SAMPLE_WORDS, min_size=1, max_size=30), st.data())
def test_words_are_counted_whatever_stands_between_them(words, data):
    joints = st.sampled_from(
        [" ", "\n", ", ", " — ", "—", "; ", "\n\n- ", " | ", ": **", '" "', "… "]
    )
    text = words[0] + "".join(data.draw(joints) + word for word in words[1:])
    assert passes(one({"check": "words", "exactly": len(words)}), text)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "Dr. Jones paid $3.50 to J. Smith.", "See https://x.org/a.b?c=d.", "Why not?",
                "It rose by 4.5 % at 5 p.m. in the U.S. market.", "Stop!", '"Go!" she said.',
                "We used e.g. oats, etc. and milk.", "Well... fine.", "He came (at last).",
                "Visit example.com/x.y now.",
            ]
        ),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from([" ", "\n", "\n\n", "\n- ", "  "]),
)  # fmt: skip
def test_sentences_are_counted_however_they_are_laid_out(sentences, joint):
    assert Answer(joint.join(sentences)).sentences == sentences


@settings(max_examples=100, deadline=None)
@given(TEXTS)
def test_text_made_small_is_small(text):
    text = text.lower()
    assume(any(c.islower() and len(c.upper()) == 1 and c.upper() != c for c in Answer(text).cased))
    assert passes(one({"check": "casing", "is": "lower"}), text)


@settings(max_examples=100, deadline=None)
@given(st.floats(-1e9, 1e9).map(lambda x: round(x, 3)))
def test_a_number_is_read_as_it_was_written(number):
    for text in (f"{number:,.3f}", f"{number:.3f}", f"{number:.15e}"):
        assert final_number(f"So 7 x is {text}.") == pytest.approx(number, rel=1e-12)


HOSTILE = [
    "a", " ", "\n", "- ", "**", "*a", "`", "[", "<a ", "|", "1. ", "1,", "# ", "=\n", ". ", "?",
    "“", '"', "{", "[1,", "中。", "🎉", "\u200d", "--", "> ", "``` ", "a@", "1'", "a a ",
    "x\n---\n",
]  # fmt: skip


@pytest.mark.parametrize("unit", HOSTILE)
def test_time_stays_bounded_on_hostile_text(unit):
    text = "x " + unit * (20_000 // len(unit)) + "\ny`"
    checks = [one(spec) for spec in SPECS]
    start = time.process_time()
    assert all(passes(check, text) in (True, False) for check in checks)
    assert time.process_time() - start < 10  # measured: under 1


def test_no_pattern_backtracks_without_end():
    check = one({"check": "regex", "pattern": r"^(a+)+(a|a)*(.*)*$", "matches": "whole"})
    start = time.process_time()
    assert not passes(check, "a" * 100_000 + "\nb")
    assert time.process_time() - start < 2


def test_an_abbreviation_ends_a_sentence_only_at_its_end():
    assert split_sentences("She has a Ph.D. The topic was bees.") == [
        "She has a Ph.D.",
        "The topic was bees.",
    ]


# The package that tells languages apart


def test_a_missing_package_is_named_before_anything_is_paid_for(monkeypatch):
    language._identifier.cache_clear()
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    prompts = pd.DataFrame({"uid": ["u1"], "checks": ['[{"check": "language", "is": "en"}]']})
    with pytest.raises(CJEError, match="pip install py3langid"):
        check_prompts(prompts)
    with pytest.raises(CJEError, match="pip install py3langid"):
        passes(one({"check": "language", "is": "fr"}), FR)
    assert passes(one({"check": "language", "is": "ja"}), JA)  # its script tells
    assert not passes(one({"check": "language", "is": "ja"}), EN)


# The judge


def answers(*rows, **more):
    frame = pd.DataFrame(rows, columns=["answer", "checks"], dtype=object)
    return frame.assign(prompt="p", uid=[f"u{i}" for i in range(len(frame))], **more)


def judge(frame, name="share", score_range=(0.0, 1.0)):
    return JUDGE.judge(frame, name, Judging(score_range, seed=1))


TWO = '[{"check": "include", "words": ["budget"]}, {"check": "no_commas"}]'


def test_the_judge_gives_the_share_of_checks_or_all_of_them_on_the_range():
    frame = answers(("The budget.", TWO), ("The budget, yes.", TWO), ("Oh, no.", TWO), ("", TWO))
    assert judge(frame)["score"].tolist() == [1.0, 0.5, 0.0, 0.0]
    assert judge(frame, "all", (1.0, 10.0))["score"].tolist() == [10.0, 1.0, 1.0, 1.0]
    assert judge(frame, "share", (0.0, 10.0))["score"].tolist() == [10.0, 5.0, 0.0, 0.0]
    assert judge(frame)["reason"].tolist() == [
        "All 2 checks hold.",
        "1 of 2 checks fails: Do not use commas.",
        '2 of 2 checks fail: Include "budget". Do not use commas.',
        '2 of 2 checks fail: Include "budget". Do not use commas.',
    ]
    assert judge(frame, "form")["reason"].tolist()[:2] == [
        "The one check holds.",
        "The one check fails: Do not use commas.",
    ]


def test_an_answer_without_checks_or_no_answer_has_no_score_but_a_reason():
    frame = answers(("So.", None), (None, TWO), (np.nan, TWO), ("So.", np.nan), ("So.", TWO))
    scores = judge(frame)
    assert scores["score"].isna().tolist() == [True, True, True, True, False]
    assert scores["reason"].tolist()[:4] == [
        "the prompt has no checks",
        "there is no answer",
        "there is no answer",
        "the prompt has no checks",
    ]
    assert scores["reason"].tolist()[4].endswith('fails: Include "budget".')
    assert list(scores.columns) == ["score", "reason"]


WORD = '[{"check": "include", "words": ["budget"]}]'


def test_form_is_blind_to_what_the_text_says():
    frame = answers(("The budget.", TWO), ("So it is.", TWO), ("The budget, yes.", TWO))
    assert judge(frame, "form")["score"].tolist() == [1.0, 1.0, 0.0]
    assert judge(frame, "form", (0.0, 10.0))["score"].tolist() == [10.0, 10.0, 0.0]
    none = judge(answers(("The budget.", WORD), (None, WORD), (None, TWO)), "form")
    assert none["score"].isna().all()
    assert none["reason"].tolist() == ["the prompt has no check of form"] * 2 + [
        "there is no answer"
    ]


def test_every_kind_of_check_is_of_form_or_of_content():
    content = {name for name, kind in KINDS.items() if not kind.of_form}
    assert content == {
        "include", "include_any", "exclude", "starts", "ends", "language", "regex", "number",
        "choice",
    }  # fmt: skip


def test_the_judge_takes_no_rows():
    scores = judge(answers())
    assert len(scores) == 0 and scores["score"].dtype == "float64"


def test_malformed_checks_name_the_prompt():
    frame = answers(("So.", TWO), ("So.", '[{"check": "wordz"}]'))
    for call in (judge, check_prompts):
        with pytest.raises(CJEError, match=r"prompt u1: check 1.*did you mean 'words'"):
            call(frame)
    with pytest.raises(CJEError, match="row 1: check 1"):
        judge(frame.drop(columns="uid"))


def test_prompts_without_checks_are_counted_and_all_of_them_are_an_error():
    assert check_prompts(answers(("", TWO), ("", None), ("", TWO), ("", np.nan))) == 2
    with pytest.raises(CJEError, match="no prompt has checks"):
        check_prompts(answers(("", None)))
    assert check_prompts(answers(("", WORD)), ["share"]) == 0
    with pytest.raises(CJEError, match="checks/form: no prompt has a check that it looks at"):
        check_prompts(answers(("", WORD)), ["share", "form"])
    for call in (judge, check_prompts):
        with pytest.raises(CJEError, match="no column 'checks'"):
            call(answers(("", None)).drop(columns="checks"))


def test_the_provider_judges_and_writes_nothing():
    provider = provider_for("checks/share")
    for name in ("share", "all", "form"):
        provider.check(name, "judge")
        with pytest.raises(CJEError, match=f"checks/{name} judges answers and cannot write them"):
            provider.check(name, "policy")
    for role in ("judge", "policy"):
        with pytest.raises(CJEError, match=re.escape("checks/most: there is no such judge")):
            provider.check("most", role)
    with pytest.raises(CJEError, match="no such judge"):
        judge(answers(("a", TWO)), "most")


def test_a_utility_needs_checks_and_a_known_rule():
    checks = parse_checks(TWO, "here")
    with pytest.raises(CJEError, match="'most'"):
        utility(checks, "a", "most")
    with pytest.raises(CJEError, match="without checks"):
        utility((), "a", "share")
