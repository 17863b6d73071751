"""Stage 7: what a capability-calibrated confidence is good for."""

from benchmark.applications.pass_at_k import (
    pass_at_k_table,
    simulate_pass_at_k,
    simulate_question_pass_at_k,
    unbiased_pass_at_k,
)

__all__ = [
    "pass_at_k_table",
    "simulate_pass_at_k",
    "simulate_question_pass_at_k",
    "unbiased_pass_at_k",
]
