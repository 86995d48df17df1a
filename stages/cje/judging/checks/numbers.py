"""The number that an answer ends on."""

import re

POWER_OF_TEN = r"\s*(?:[×·*]|\\times|\\cdot|x)\s*10\s*\^\s*\{?(?P<ten>[-−+]?\d{1,4})\}?"
NUMBER = re.compile(
    r"(?<![\w./^])(?<!\^\{)(?<!\^[-−])(?:(?<![\w)\]])(?P<sign>[-−+]))?[$€£¥]?"
    r"(?:(?P<whole>\d{1,3}(?:,\d{3})+(?!\d|,\d)|\d{1,3}(?:[\u00a0\u202f']\d{3})+(?!\d)|\d+)"
    r"(?P<part>\.\d+|,\d+(?!,?\d))?|(?P<bare>\.\d+))"
    rf"(?:[eE](?P<exponent>[-+]?\d{{1,4}})(?!\w)|{POWER_OF_TEN}"
    r"|/(?P<over>\d{1,15})(?![\d/])|\^\{?(?P<power>[-−]?\d{1,4})\}?)?"
)
LATEX_FRACTION = re.compile(r"\\[dt]?frac\{(\d{1,15})\}\{(\d{1,15})\}")


def final_number(text: str) -> float | None:
    """The last number written in digits, or None; LaTeX's \\boxed{} takes precedence.

    Commas, thin blanks and apostrophes may group thousands; a comma before other than three digits
    is a decimal one. Fractions, powers and powers of ten are worked out; currency and percent signs
    and units are ignored.
    """
    text = LATEX_FRACTION.sub(r"\1/\2", text.replace("{,}", ","))
    _, _, boxed = text.rpartition(r"\boxed{") if r"\boxed{" in text else ("", "", "")
    text = boxed.partition("}")[0] or text
    *_, last = [None, *NUMBER.finditer(text)]
    if last is None:
        return None
    part = last["part"] or last["bare"] or ""
    if part.startswith(",") and re.fullmatch(r"\d,", text[max(last.start() - 2, 0) : last.start()]):
        return float(part[1:])  # 3,4,5 is a list
    whole = re.sub(r"[,'\u00a0\u202f]", "", last["whole"] or "")
    value = float(whole + part.replace(",", "."))
    exponent = last["exponent"] or last["ten"]
    try:
        if exponent:
            value *= 10.0 ** int(exponent.replace("−", "-"))
        elif last["over"]:
            value /= float(last["over"])
        elif last["power"]:
            value **= int(last["power"].replace("−", "-"))
    except (OverflowError, ZeroDivisionError):
        return None
    return -value if last["sign"] in ("-", "−") else value
