"""Providers: how each is asked and answers, one module each."""
