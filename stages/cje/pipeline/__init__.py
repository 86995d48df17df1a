"""What stage scripts share: who plays which part, where answers come from, which are labelled."""
