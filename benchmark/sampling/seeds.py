"""The seed of each (question, sample), derived by hash: equal seeds would correlate the draws."""

from hashlib import blake2b


def sample_seed(seed: int, question_id: str, sample_index: int) -> int:
    """Return the seed of one (question, sample), in [0, 2^63)."""
    key = f"{seed}\x1f{question_id}\x1f{sample_index}".encode()
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "big") >> 1
