"""Stage 7: what a capability-calibrated confidence is good for."""

from benchmark.applications.abstention import validation_half
from benchmark.applications.pass_at_k import (
    pass_at_k_table,
    simulate_pass_at_k,
    simulate_question_pass_at_k,
    unbiased_pass_at_k,
)
from benchmark.applications.selective import (
    accuracy_at_coverage,
    answered_at,
    aurc,
    excess_aurc,
    lowest_threshold,
    normalised_aurc,
    risk_coverage_curve,
)

__all__ = [
    "accuracy_at_coverage",
    "answered_at",
    "aurc",
    "excess_aurc",
    "lowest_threshold",
    "normalised_aurc",
    "pass_at_k_table",
    "risk_coverage_curve",
    "simulate_pass_at_k",
    "simulate_question_pass_at_k",
    "unbiased_pass_at_k",
    "validation_half",
]
