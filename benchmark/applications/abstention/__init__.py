"""Abstention: answering only where a response is likely to be right."""
