"""Models: those that answer, those that judge, and how they are asked."""
