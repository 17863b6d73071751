"""Stage 6: pure functions on arrays that compare confidences with graded responses."""
