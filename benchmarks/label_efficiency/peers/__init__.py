"""One script a peer; each is run by the interpreter of its environment."""
