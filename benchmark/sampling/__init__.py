"""Stage 2: responses to questions, a fixed number or as many as each question needs."""
