"""The HTML pages of one cell and of many."""
