"""Draw which package uses which, from the imports of stages/, into docs/architecture.md."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/architecture.md"
START, END = "<!-- packages: scripts/architecture.py -->\n", "<!-- end of packages -->"
ENTRIES = ("cje", "cje.cli", "cje_pipeline")  # no box: they only start what is in one
STAGES, BASE = "stages/*.py", "vocabulary, thresholds, plugins, errors"


def package(module: str) -> str:
    """The box of a module: the package below `cje`, what lies beside the packages, or a stage."""
    parts = module.split(".")
    if parts[0] != "cje":
        return STAGES
    return parts[1] if (ROOT / "stages/cje" / "/".join(parts[1:2])).is_dir() else BASE


def modules() -> dict[str, ast.Module]:
    """Every module of stages/ by its dotted name, parsed."""
    found = {}
    for path in sorted((ROOT / "stages").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT / "stages").with_suffix("").parts)
        found[name.removesuffix(".__init__")] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports() -> dict[str, set[str]]:
    """The modules of stages/ that each of them imports, wherever in it."""
    known = modules()
    found: dict[str, set[str]] = {name: set() for name in known}
    for name, tree in known.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("cje"):
                targets = [f"{node.module}.{alias.name}" for alias in node.names]
                imported = {t if t in known else node.module for t in targets}
                found[name] |= imported & known.keys() - {name}
    return found


def uses() -> dict[str, set[str]]:
    """The boxes that each box imports."""
    found: dict[str, set[str]] = {}
    for name, imported in imports().items():
        if name not in ENTRIES:
            others = found.setdefault(package(name), set())
            others |= {package(other) for other in imported - set(ENTRIES)}
    return {box: others - {box} for box, others in found.items()}


def reachable(box: str, graph: dict[str, set[str]]) -> set[str]:
    """Every box below this one."""
    below = graph[box] | {far for near in graph[box] for far in reachable(near, graph)}
    if box in below:
        raise SystemExit(f"error: {box} uses itself, by way of others")
    return below


def drawn() -> str:
    """The boxes and arrows in Mermaid's language; an arrow that others imply is left out."""
    graph = uses()
    names = {box: f"b{place}" for place, box in enumerate(sorted(graph))}
    lines = ["```mermaid", "flowchart TD"]
    lines += [f'  {names[box]}["{box}"]' for box in sorted(graph)]
    for box in sorted(graph):
        implied = {far for near in graph[box] for far in reachable(near, graph)}
        lines += [f"  {names[box]} --> {names[other]}" for other in sorted(graph[box] - implied)]
    return "\n".join([*lines, "```\n"])


def with_picture(page: str) -> str:
    """The page with the picture of the code in the place of its own."""
    before, rest = page.split(START)
    return before + START + drawn() + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(with_picture(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
