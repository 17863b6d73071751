"""Stage 8: the tables of one grid cell as a terminal table, figures, CSV and one HTML page."""
