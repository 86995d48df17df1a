"""A finished run shown to people: on the screen, in figures, as a report, a notebook and files."""
