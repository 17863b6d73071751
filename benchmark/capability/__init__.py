"""Stage 4: grades -> counts, and what they say of expected accuracies."""
