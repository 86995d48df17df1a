"""The colours of verdicts, of what is worse or better, and of the truth: in figures, notebook and
report (whose page.css has them again) the same. Dark enough to be read as text on white.
"""

from cje.vocabulary import Verdict

BLUE, AMBER, RED, GREEN = "#0b5a9c", "#984600", "#a4211b", "#008561"
INK, GREY = "#1d1c19", "#66625b"
VERDICT_COLOURS = {Verdict.RELIABLE: BLUE, Verdict.CAUTION: AMBER, Verdict.REFUSE: GREY}
