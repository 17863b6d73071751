"""capcal: a benchmark harness for the capability calibration of language models.

The modules stand in the order of the data's path: questions, sampling, grading, capability,
estimators, metrics, applications, report. ``pipeline`` runs them, ``store`` keeps what they make.
"""
