"""Statistics that metrics, sampling and applications share: pure functions on arrays."""
