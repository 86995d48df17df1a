"""The pages of the documentation that run the most, done as tests/test_docs.py does the others."""

import pytest

from test_docs import EXAMPLES, RUN, do, named, project, ready

__all__ = ["project", "ready"]


@pytest.mark.parametrize("page", [p for p in RUN if p.stem in EXAMPLES], ids=named)
def test_a_page_does_what_it_says(page, project):
    do(page, project)
