"""The order of the files, the number of processes that share them, and what these start with.

A long file that began last would be waited for alone.
"""

import os

import psutil
import pytest

LONGEST = (
    "test_model_pipeline", "test_docs_examples", "test_guide", "test_pipeline", "test_docs",
    "test_errors", "test_docs_errors", "test_views", "test_results", "test_report",
    "test_report_browser", "test_commands", "test_crash", "test_faults", "test_portable",
    "test_exact_weights", "test_own_labels", "test_label_story", "test_graph", "test_hub",
    "test_docs_numbers", "test_label_efficiency", "test_plots", "test_sampling",
)  # fmt: skip

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # every stage would compile the library again


@pytest.hookimpl(optionalhook=True)  # of a plugin that may be switched off
def pytest_xdist_auto_num_workers(config):
    """One more than there are processors: tests of servers, deadlines and browsers also wait."""
    return (psutil.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items):
    """The longest files first, in the order of their names; the others as they are."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONGEST)))
