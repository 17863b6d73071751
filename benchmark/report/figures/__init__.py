"""Figures of one cell and of many."""
