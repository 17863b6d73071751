"""Stage 8: tables, figures and one HTML page of many cells, beside the paper's numbers."""
