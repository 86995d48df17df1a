"""Ask each target policy for one answer, before the answers of the base policy are paid for."""

from cje.data.tables import read_table, write_metrics
from cje.pipeline.sources import open_source
from cje.pipeline.stage import DATA, run
from cje.settings import load_settings


def main() -> str:
    source = open_source(load_settings(), "try_targets")
    tried = source.try_targets(read_table(DATA / "prompts.parquet", "prompts"))
    # The logs depend on this file. It is the same for all targets, so that another target can be
    # tried without calling the base policy again.
    write_metrics({"tried": True}, DATA / "tried.json")
    if not tried:
        return "No target is called over HTTP, so there is nothing to try"
    return f"Tried {tried:,} target{'s' * (tried > 1)} over HTTP"


if __name__ == "__main__":
    run(main, "A first answer of each target")
