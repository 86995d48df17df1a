"""Every colour of what is shown: on the screen, in figures, notebook and report.

A verdict, a direction and the truth have the same colour everywhere, dark enough to be read as text
on white; no colour says anything alone.
"""

from cje.vocabulary import Severity, Status, Verdict

BLUE, AMBER, RED, GREEN = "#0b5a9c", "#984600", "#a4211b", "#008561"
INK, GREY, QUIET, PAPER = "#1d1c19", "#66625b", "#5c5952", "#ffffff"
VERDICT_COLOURS = {Verdict.RELIABLE: BLUE, Verdict.CAUTION: AMBER, Verdict.REFUSE: GREY}
STATUS_COLOURS = {Status.GOOD: BLUE, Status.WARNING: AMBER, Status.CRITICAL: RED}

# Figures: lines and fills that stay in the background.
FRAME, GRID, HATCH = "#777777", "#e4e4e4", "#c8c8c8"
PALE, PALE_BAR, PALE_BLUE = "#efefef", "#d5d5d5", "#9db8cc"
# Cells of the heat map, by p-value: below 0.001, 0.01, 0.05.
ROW_BETTER = ("#08519c", "#6baed6", "#c6dbef")
ROW_WORSE = ("#a63603", "#f08a4b", "#fdd0a2")

# The screen: of the 256 colours, each readable on black and on white.
SCREEN_GREEN, SCREEN_ORANGE, SCREEN_RED = "color(28)", "color(166)", "color(160)"
SCREEN_BLUE, SCREEN_GREY = "color(26)", "color(245)"
VERDICT_STYLES = {
    Verdict.RELIABLE: SCREEN_BLUE, Verdict.CAUTION: SCREEN_ORANGE,
    Verdict.REFUSE: f"bold {SCREEN_GREY}",
}  # fmt: skip
STATUS_STYLES = {
    Status.GOOD: SCREEN_GREEN, Status.WARNING: SCREEN_ORANGE, Status.CRITICAL: f"bold {SCREEN_RED}",
}  # fmt: skip
SEVERITY_STYLES = {Severity.WARNING: SCREEN_ORANGE, Severity.CRITICAL: SCREEN_RED}

# The report's page, light and dark; `up` and `down`: tokens likelier or less likely, by depth.
PAGE_LIGHT = {
    "paper": "#fffefb", "soft": "#f5f3ee", "line": "#dcd8cf", "ink": INK, "quiet": QUIET,
    "blue": BLUE, "amber": AMBER, "red": RED, "grey": GREY, "green": "#00684d", "truth": GREEN,
    "up-1": "#e2eefa", "up-2": "#bfdaf4", "up-3": "#90bfea", "up-4": "#63a4e0",
    "down-1": "#fcecdc", "down-2": "#f8d2ad", "down-3": "#f1b077", "down-4": "#e68f45",
    "shown": "#000", "faded": "#0003",  # of a mask
}  # fmt: skip
PAGE_DARK = {
    "paper": "#16171a", "soft": "#1f2125", "line": "#3a3d43", "ink": "#ebe9e4", "quiet": "#aeaaa2",
    "blue": "#7fb8ee", "amber": "#f2a765", "red": "#ff978c", "grey": "#a9a69f", "green": "#5fcaa5",
    "truth": "#3fb58d",
    "up-1": "#1d2b3b", "up-2": "#21405f", "up-3": "#205687", "up-4": "#1c67ad",
    "down-1": "#35281c", "down-2": "#573515", "down-3": "#794512", "down-4": "#98540e",
}  # fmt: skip


def page_colours() -> str:
    """The page's colours as CSS variables, dark ones where the reader wants them."""

    def variables(colours: dict[str, str]) -> str:
        return " ".join(f"--{name}: {colour};" for name, colour in colours.items())

    return (
        f":root {{ {variables(PAGE_LIGHT)} }}\n"
        "@media screen and (prefers-color-scheme: dark) {\n"
        f"  :root {{ {variables(PAGE_DARK)} }}\n"
        "}\n"
    )
