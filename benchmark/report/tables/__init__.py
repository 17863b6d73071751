"""Tables of one cell and of many."""
