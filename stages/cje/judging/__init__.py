"""Judges: their instructions, how judged texts are kept from adding to them, and their verdicts."""

from cje.judging.parsing import is_verdict_alone, parse_score, score_schema
from cje.judging.rubric import Rubric, load_rubric, parse_rubric

__all__ = [
    "Rubric",
    "is_verdict_alone",
    "load_rubric",
    "parse_rubric",
    "parse_score",
    "score_schema",
]
