"""People as the oracle: the list of answers to label, what they said, and the page to say it on."""
