"""Routing: the cheapest model that is likely to be right."""
