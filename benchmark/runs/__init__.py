"""One cell, the jobs of a grid, the plan before them and the trackers after them."""
