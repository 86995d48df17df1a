"""An answer as the checks read it: its lines, blocks, words and sentences.

Text is NFC with `\\n` line ends, without white space around it. Code in fences is set apart: what
the checks of prose read leaves it out, unless the answer is nothing but code. Every pattern here
runs in time linear in the text, or nearly so.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property

from cje.judging.checks.sentences import CLOSERS, END, split_sentences

TEXT_FENCES = ("", "markdown", "md", "text", "txt", "plaintext")
QUESTION_MARKS = "?？؟‽"
FENCE = re.compile(r"[ \t>]*(`{3,}|~{3,})([^`\n]*)$")
HEADING = re.compile(r" {0,3}(#{1,6})[ \t]")
UNDERLINE = re.compile(r" {0,3}(=+|-{2,})[ \t]*$")
RULE = re.compile(r"[ \t]*([-*_][ \t]*){3,}$")
BULLET = re.compile(r"[ \t>]*([-*+–][ \t]+|[•‣◦▪▫●○■□·∙⁃➤►▶][ \t]*)(?=\S)")
NUMBERED = re.compile(r"[ \t>]*(?:#{1,6}[ \t]+)?[*_]{0,2}\(?(\d{1,3})[.)][*_]{0,2}[ \t]+(?=\S)")
TITLE_LINE = re.compile(r"[ \t]*(\*\*|__)([^*_\n]+)(\*\*|__):?[ \t]*$")
DELIMITER_CELL = re.compile(r"[ \t]*:?-+:?[ \t]*$")
LINK = re.compile(r"!?\[([^\[\]\n]*)\]\([^()\s]*\)")
TAG = re.compile(r"""</?[A-Za-z][\w-]*(?:\s+[\w-]+=(?:"[^"<>\n]*"|'[^'<>\n]*'))*\s*/?>""")
OPENING_MARK = re.compile(r"(?<!\w)(?<!\*)(\*{1,3}|_{1,3}|~~)(?=[^\s*_])")
CLOSING_MARK = re.compile(r"(?<=[^\s*_])(\*{1,3}|_{1,3}|~~)(?![\w*])")
# Scripts that put no spaces between words: Han, kana, Thai, Lao, Burmese, Khmer.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
UNSPACED_RUN = re.compile(f"[{UNSPACED}]+")
WORD_BREAK = re.compile(r"[\s|]+|[—―]+|(?<!-)--+(?!-)|(?<=[^\W\d_])[…–](?=[^\W\d_])")
ELLIPSIS_BREAK = re.compile(r"(?<=[^\W_])\.{3,}(?=[^\W_])")


def normalise(text: str) -> str:
    """NFC text with `\\n` line ends, white space at both ends removed, half surrogates replaced."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n")
    return unicodedata.normalize("NFC", text).strip().strip("\ufeff\u200b").strip()


def is_blank(text: str) -> bool:
    """Whether nothing can be seen: white space, control and format characters alone."""
    return all(c.isspace() or c in FILLERS or unicodedata.category(c) in ("Cc", "Cf") for c in text)


def straight(text: str) -> str:
    """Text with curly apostrophes and quotation marks made straight."""
    return text.translate(STRAIGHT)


FILLERS = "\u2800\u3164\u115f\u1160"
STRAIGHT = str.maketrans("‘’‛ʼ′“”„‟″", "'''''" + '"' * 5)


def plain(text: str) -> str:
    """Text without markdown's emphasis, inline code marks, link addresses and HTML tags."""
    text = TAG.sub("", LINK.sub(r"\1", text)).replace("`", "")
    return CLOSING_MARK.sub("", OPENING_MARK.sub("", text))


def is_address(token: str) -> bool:
    """Whether a token, text without white space, is a web or mail address."""
    bare = token.strip("()<>[]\"'.,;:!?").casefold()
    if "://" in bare or bare.startswith("www."):
        return True
    name, at, host = bare.partition("@")
    return bool(name and at and "." in host)


@dataclass(frozen=True)
class CodeBlock:
    """Fenced code: the first word of its info string, and the code."""

    language: str
    code: str
    closed: bool


@dataclass(frozen=True)
class Table:
    """A markdown table: the number of columns of its header, and of rows below it."""

    columns: int
    rows: int


class Answer:
    """An answer, read once and looked at by many checks."""

    def __init__(self, text: str):
        self.text = normalise(text)
        self.blank = is_blank(self.text)

    @cached_property
    def _split(self) -> tuple[list[str], list[CodeBlock]]:
        """The lines outside of fences (a blank one for each block), and the fenced blocks."""
        prose: list[str] = []
        blocks: list[CodeBlock] = []
        fence, language = "", ""
        code: list[str] = []
        for line in self.text.split("\n"):
            match = FENCE.match(line)
            if not fence and match:
                fence, info = match[1], match[2].split()
                language, code = (info[0].casefold().strip("{}.") if info else ""), []
                prose.append("")
            elif fence and match and match[1].startswith(fence) and not match[2].strip():
                blocks.append(CodeBlock(language, "\n".join(code), True))
                fence = ""
            elif fence:
                code.append(line)
            else:
                prose.append(line)
        if fence:
            blocks.append(CodeBlock(language, "\n".join(code), False))
        return prose, blocks

    @property
    def code_blocks(self) -> list[CodeBlock]:
        return self._split[1]

    @cached_property
    def lines(self) -> list[str]:
        """Lines of prose, blank ones too; of the code where there is no prose."""
        prose, blocks = self._split
        if any(line.strip() for line in prose) or not blocks:
            return prose
        return "\n\n".join(block.code for block in blocks).split("\n")

    @cached_property
    def _marked_lines(self) -> list[str]:
        """The lines in which markdown means something: `lines`, unless they are code."""
        code = bool(self.code_blocks) and not any(line.strip() for line in self._split[0])
        named = any(block.language not in TEXT_FENCES for block in self.code_blocks)
        return [] if code and named else self.lines

    @cached_property
    def body(self) -> str:
        """The text, or its code where it is nothing but one block of code."""
        prose, blocks = self._split
        if len(blocks) == 1 and blocks[0].closed and not any(line.strip() for line in prose):
            return blocks[0].code.strip()
        return self.text

    @cached_property
    def prose(self) -> str:
        return "\n".join(self.lines).strip()

    @cached_property
    def plain(self) -> str:
        """The whole text without its markup."""
        return plain(self.text)

    @cached_property
    def _tables(self) -> dict[int, Table]:
        """Markdown tables by their first line: a header, dashes for as many cells, rows."""
        tables, lines, i = {}, self._marked_lines, 0
        while i + 2 < len(lines):
            header, below = _cells(lines[i]), _cells(lines[i + 1])
            end = i + 2
            if header and len(header) == len(below) and all(map(DELIMITER_CELL.match, below)):
                while end < len(lines) and _cells(lines[end]):
                    end += 1
                if end > i + 2:
                    tables[i] = Table(len(header), end - i - 2)
            i = end if end > i + 2 else i + 1
        return tables

    @property
    def tables(self) -> list[Table]:
        return list(self._tables.values())

    @cached_property
    def _table_lines(self) -> set[int]:
        return {i for first, t in self._tables.items() for i in range(first, first + t.rows + 2)}

    @cached_property
    def headings(self) -> list[int]:
        """The levels of the markdown headings, `#` to `######` and underlined ones."""
        levels, before = [], ""
        for line in self._marked_lines:
            if match := _heading(line):
                levels.append(len(match[1]))
            elif (match := UNDERLINE.match(line)) and _may_be_title(before):
                levels.append(1 if match[1][0] == "=" else 2)
            before = line
        return levels

    @cached_property
    def bullets(self) -> list[str]:
        """The text of each bullet point, at any depth; a rule of dashes or stars is none."""
        return [line[m.end() :] for line in self._marked_lines if (m := _bullet(line))]

    @cached_property
    def _numbered(self) -> dict[int, int]:
        """Line number of each numbered item and where its text starts: numbers that begin at 1
        or 0, or follow the one before at the same depth, or repeat 1."""
        items: dict[int, int] = {}
        last: dict[int, int] = {}
        for i, line in enumerate(self._marked_lines):
            if match := NUMBERED.match(line):
                number, depth = int(match[1]), len(line) - len(line.lstrip(" \t>"))
                if number in (0, 1) or last.get(depth) == number - 1:
                    items[i], last[depth] = match.end(), number
        return items

    @property
    def numbered(self) -> int:
        """How many numbered items there are, at any depth."""
        return len(self._numbered)

    @cached_property
    def units(self) -> list[tuple[str, str]]:
        """Blocks of running text in order, (kind, text): "paragraph", "item" or "heading".

        Blank lines, rules and tables part them. Lines below a list item belong to it where they
        are indented, or go on with a small letter and no blank line between. A line that is
        nothing but bold, of 12 words or fewer and without a full stop, is a heading.
        """
        units: list[tuple[str, str]] = []
        in_list = open_unit = False
        for i, line in enumerate(self.lines):
            body = line.lstrip(" \t>")
            bullet, indented = _bullet(line), line[:1] in (" ", "\t")
            if not body.strip():
                open_unit = False
                continue
            if RULE.match(line) or UNDERLINE.match(line) or i in self._table_lines:
                kind, text = units[-1] if open_unit else ("", "")
                if kind == "paragraph" and UNDERLINE.match(line) and _may_be_title(text):
                    units[-1] = ("heading", text)
                in_list = open_unit = False
            elif bullet or i in self._numbered:
                start = bullet.end() if bullet else self._numbered[i]
                heading = _heading(line) is not None
                units.append(("heading" if heading else "item", line[start:].strip()))
                in_list, open_unit = not heading, not heading
            elif _heading(line) or _is_title(line):
                units.append(("heading", body.strip("# \t")))
                in_list = open_unit = False
            elif (open_unit and (not in_list or body[0].islower())) or (in_list and indented):
                joint = "" if UNSPACED_RUN.match(body) else " "
                units[-1] = (units[-1][0], units[-1][1] + joint + body.strip())
                open_unit = True
            else:
                units.append(("paragraph", body.strip()))
                in_list, open_unit = False, True
        return units

    @cached_property
    def paragraphs(self) -> list[str]:
        """Paragraphs, parted by blank lines; headings, lists and tables are none."""
        return [text for kind, text in self.units if kind == "paragraph"]

    @cached_property
    def sentences(self) -> list[str]:
        """Sentences of paragraphs and list items; a heading is none, and every paragraph and item
        ends a sentence with or without a full stop."""
        texts = [text for kind, text in self.units if kind != "heading"]
        texts = texts or [text for _, text in self.units]
        return [s for text in texts for s in split_sentences(plain(text))]

    @property
    def questions(self) -> int:
        """How many sentences end with a question mark, headings too."""
        texts = (s for _, text in self.units for s in split_sentences(plain(text)))
        ends = (END.search(text.rstrip(CLOSERS)) for text in texts)
        return sum(any(mark in QUESTION_MARKS for mark in end[0]) for end in ends if end)

    @cached_property
    def words(self) -> list[str]:
        """Words: what stands between white space, dashes or table bars and holds a letter or a
        digit. Apostrophes, hyphens, slashes, points and commas inside do not part a word. In
        scripts without spaces each letter counts as one. List numbers and addresses of links do
        not count."""
        text = plain("\n".join(_without_marker(line) for line in self.lines))
        words: list[str] = []
        for token in WORD_BREAK.split(ELLIPSIS_BREAK.sub(" ", text)):
            for run in UNSPACED_RUN.findall(token):
                words.extend(c for c in run if unicodedata.category(c)[0] == "L")
            words.extend(p for p in UNSPACED_RUN.split(token) if any(map(str.isalnum, p)))
        return words

    @cached_property
    def cased(self) -> str:
        """The prose without inline code and addresses: where upper and lower case are chosen."""
        bare = re.sub(r"`[^`\n]+`", " ", LINK.sub(r"\1", self.prose))
        kept = "\n".join(
            " ".join(token for token in line.split() if not is_address(token))
            for line in TAG.sub("", bare).split("\n")
        )
        return kept if any(map(str.isalpha, kept)) else self.text


def _cells(line: str) -> list[str]:
    """The cells of a table's row; none where the line has no bar."""
    line = line.strip()
    if "|" not in line:
        return []
    return line.removeprefix("|").removesuffix("|").replace("\\|", " ").split("|")


def _heading(line: str) -> re.Match[str] | None:
    match = HEADING.match(line)
    return match if match and line[match.end() :].strip("# \t") else None


def _may_be_title(line: str) -> bool:
    """Whether a line of dashes below makes this line a heading, not the end of a paragraph."""
    other = (
        not line.strip()
        or UNDERLINE.match(line)
        or RULE.match(line)
        or _bullet(line)
        or _heading(line)
        or "|" in line
    )
    return not other and not NUMBERED.match(line) and _is_short(line)


def _is_title(line: str) -> bool:
    match = TITLE_LINE.match(line)
    return match is not None and _is_short(match[2])


def _is_short(line: str) -> bool:
    return len(line.split()) <= 12 and line.rstrip()[-1:] not in ".!?"


def _bullet(line: str) -> re.Match[str] | None:
    return None if RULE.match(line) else BULLET.match(line)


def _without_marker(line: str) -> str:
    match = NUMBERED.match(line)
    return line[match.end() :] if match else line
