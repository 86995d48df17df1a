"""A run as one HTML file for people: the answer, the reasons to believe it, every answer judged."""

from cje.results.report.page import write_report

__all__ = ["write_report"]
