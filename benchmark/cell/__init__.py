"""One model on one dataset: what the stages returned, its key, and its saved form."""
