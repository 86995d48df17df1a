"""The order of the files, and what the processes that tests start share.

Two processes share the files, and a long one that began last would be waited for alone.
"""

import os

LONGEST = (
    "test_model_pipeline", "test_docs_examples", "test_guide", "test_pipeline", "test_docs",
    "test_errors", "test_docs_errors", "test_views", "test_results", "test_report",
    "test_report_browser", "test_commands", "test_crash", "test_faults", "test_docs_numbers",
)  # fmt: skip

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # every stage would compile the library again


def pytest_collection_modifyitems(items):
    """The longest files first, in the order of their names; the others as they are."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONGEST)))
