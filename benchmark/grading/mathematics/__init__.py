"""Mathematical answers: how they are written, what they are, and when two are equal."""
