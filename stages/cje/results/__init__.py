"""A finished run, told to people: on the screen, in figures, as a report, a notebook and files."""
