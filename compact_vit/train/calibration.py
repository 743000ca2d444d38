"""Whether a model is right as often as its confidence says.

Letters: N pictures, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

#: Bins of equal width, as in Guo et al. 2017.
BINS = 15


@dataclass(frozen=True)
class Calibration:
    """Pictures sorted into bins by confidence, the highest probability; shares in percent."""

    counts: tuple[int, ...]
    """Pictures in each bin; bin m of M holds confidences in (m/M, (m+1)/M]."""
    confidences: tuple[float, ...]
    """Their mean confidence; 0 in an empty bin."""
    accuracies: tuple[float, ...]
    """The share that is right; 0 in an empty bin."""

    @property
    def error(self) -> float:
        """The expected calibration error in percent (Guo et al. 2017, arXiv 1706.04599, eq. 3)."""
        rows = zip(self.counts, self.confidences, self.accuracies, strict=True)
        return sum(n * abs(said - right) for n, said, right in rows) / sum(self.counts)


def calibrate(probabilities: Tensor, labels: Tensor) -> Calibration:
    """How ``probabilities [N, K]`` agree with ``labels [N]``, in ``BINS`` of equal width."""
    assert len(labels) > 0
    confidence, said = probabilities.double().max(dim=1)
    index = (confidence * BINS).ceil().long().clamp(1, BINS) - 1  # [N]
    counts = index.bincount(minlength=BINS)

    def means(values: Tensor) -> tuple[float, ...]:
        sums = values.new_zeros(BINS).index_add_(0, index, values)
        return tuple((100 * sums / counts.clamp(min=1)).tolist())

    right = (said == labels).double()
    return Calibration(tuple(counts.tolist()), means(confidence), means(right))
