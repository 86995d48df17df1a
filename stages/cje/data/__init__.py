"""The tables that stages exchange, and the files, data sets and scales that they are made of."""
