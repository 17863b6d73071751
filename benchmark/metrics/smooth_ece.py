"""Stage 6: smooth calibration error, which needs no bins."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.fft import dct, idct
from scipy.sparse import csr_array

from benchmark.statistics.bootstrap import divide
from benchmark.statistics.inputs import FloatArray, check_inputs

_CELLS = 256  # grid cells that [0, 1] is cut into
_HALVINGS = 10  # of the range where the bandwidth may lie


def smooth_calibration_error(
    confidences: ArrayLike, n: ArrayLike, c: ArrayLike, weights: ArrayLike | None = None
) -> FloatArray:
    """Return the smooth ECE against the expected accuracy, in [0, 1].

    The gaps ``conf - c / n`` are smoothed over the confidences by a Gaussian kernel ``K_s`` that is
    reflected at 0 and 1, and averaged in absolute value:
    ``smECE_s = integral_0^1 |mean_i K_s(t, conf_i) (conf_i - c_i / n_i)| dt``. It falls with the
    bandwidth s; the result is the one at which ``smECE_s = s`` (Blasiok and Nakkiran, arXiv
    2309.12236, definitions 1 and 2), where ``c / n`` stands for the 0 or 1 of their definition. It
    is found by halving ten times the range between the absolute mean gap and the mean absolute gap,
    where it lies, on a grid of 256 cells, which doesn't resolve bandwidths below 0.004. The package
    ``relplot``, for a 0 or 1, agrees but for large errors, which it gives larger: 1.00 in place of
    0.46 for confidences of 0 and 1 that are both wrong.

    Arguments and errors are those of `benchmark.metrics.brier.brier_score`.

    Returns:
        [...], NaN without questions.

    Examples:
        >>> round(float(smooth_calibration_error([0.5] * 4, n=[2] * 4, c=[1, 1, 2, 2])), 3)
        0.25
        >>> float(smooth_calibration_error([0.5, 1.0], n=[2, 2], c=[1, 2]))
        0.0
    """
    x = check_inputs(confidences, n, c, weights)
    total = x.weights.sum(axis=-1)
    weighted = x.weights * (x.confidences - x.accuracy)
    rows = weighted.reshape(int(np.prod(weighted.shape[:-1])), len(x.n))
    in_cells = np.reshape(rows @ _shares_of_cells(x.confidences), (*weighted.shape[:-1], _CELLS))
    gaps = divide(in_cells, total[..., None])
    spectrum = dct(gaps, norm="ortho", axis=-1)
    decay = -0.5 * (np.pi * np.arange(_CELLS)) ** 2  # a reflected kernel damps each cosine alone
    low, high = np.abs(gaps.sum(axis=-1)), np.abs(gaps).sum(axis=-1)  # of endless width, and of 0
    for _ in range(_HALVINGS):
        bandwidth = (low + high) / 2
        kernel = np.exp(decay * bandwidth[..., None] ** 2)
        error = np.abs(idct(spectrum * kernel, norm="ortho", axis=-1)).sum(axis=-1)
        low, high = np.where(error < bandwidth, [low, bandwidth], [bandwidth, high])
    return np.asarray((low + high) / 2)


def _shares_of_cells(confidences: FloatArray) -> csr_array:
    """Return how each question is shared out between the two nearest cells: [N, cells]."""
    position = confidences * _CELLS - 0.5  # in cells, from the middle of the first
    left = np.floor(position).astype(np.int64)
    right_share = position - left
    cells = np.clip(np.stack([left, left + 1], axis=-1), 0, _CELLS - 1)  # reflected at both ends
    shares = np.stack([1 - right_share, right_share], axis=-1)
    rows = np.arange(len(confidences) + 1) * 2
    return csr_array((shares.ravel(), cells.ravel(), rows), shape=(len(confidences), _CELLS))
