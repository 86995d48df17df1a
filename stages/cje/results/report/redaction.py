"""Text without what names the machine: addresses, and folders counted from the root."""

import re

ADDRESS = re.compile(r"\b\w+://[^\s'\"]+")
ROOT = r"(^|(?<=[\s'\"(=])|(?<=local/))(~[^\s/\\]*|[A-Za-z]:)?[/\\]"
ROOTED = re.compile(ROOT + r"([^\s/\\'\"]+[/\\])*")
HIDDEN = "(address left out)"


def redacted(text: str) -> str:
    """The text with addresses left out, and of a path from the root its last part alone."""
    return ROOTED.sub("\N{HORIZONTAL ELLIPSIS}/", ADDRESS.sub(HIDDEN, text))
