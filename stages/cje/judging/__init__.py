"""Judges: what they are told, how the judged text is kept from telling them, what they say."""

from cje.judging.parsing import parse_score, score_schema
from cje.judging.rubric import Rubric, load_rubric, parse_rubric

__all__ = ["Rubric", "load_rubric", "parse_rubric", "parse_score", "score_schema"]
