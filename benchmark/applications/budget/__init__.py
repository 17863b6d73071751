"""Budgets: where to spend a number of samples."""
