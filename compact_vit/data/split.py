"""One set of labelled pictures divided in two, alike in every class."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..errors import UsageError, listed

_log = logging.getLogger(__name__)


class IndivisibleError(UsageError):
    """Pictures of which one part cannot be held out as asked."""


def stratified_split(
    labels: Tensor,
    fraction: float,
    seed: int,
    classes: Sequence[str] = (),
    *,
    name: str = "held-out fraction",
    of: Tensor | None = None,
    way_out: str = "add pictures or remove the class",
) -> tuple[Tensor, Tensor]:
    """Indices, ascending, of the part kept and of the ``fraction`` held out, alike in every class.

    ``labels int64 [N]`` -> two disjoint ``int64`` vectors that together hold 0..N-1. Where there
    are many of some classes and few of others, a part may be without one, which a warning says. It
    and a ``UsageError`` name ``classes``; that names the fraction too, and of a class that is too
    small the pictures it had among all labels ``of`` the data set, and a ``way_out``.
    """
    from sklearn.model_selection import train_test_split

    labels = torch.as_tensor(labels)  # or numpy's
    if not 0 < fraction < 1:
        raise UsageError(f"{name}: wanted a number between 0 and 1, got {fraction}")
    present, counts = labels.unique(return_counts=True)
    if len(labels) and int(counts.min()) < 2:
        rare = int(present[counts.argmin()])
        had = 1 if of is None else int((of == rare).sum())
        raise IndivisibleError(
            f"{name}: wanted at least 2 pictures of every class to divide,"
            f" got 1 of class {repr(classes[rare]) if classes else rare}"
            f"{f', which has {had:,}: the rest tests or is not used' if had > 1 else ''}: {way_out}"
        )
    try:
        kept, held = train_test_split(
            np.arange(len(labels)),
            test_size=fraction,
            random_state=seed % 2**32,
            stratify=labels.numpy(),
        )
    except ValueError:
        least, total = len(present), len(labels)
        shares = (percent / 100 for percent in range(1, 100))
        right = [share for share in shares if least <= math.ceil(share * total) <= total - least]
        raise IndivisibleError(
            f"{name}: wanted every one of {least} classes in both parts of {total}"
            f" pictures, got {fraction}: give between {right[0]} and {right[-1]}"
        ) from None
    for part, rows in (("held out", held), ("kept", kept)):
        if missing := sorted(set(present.tolist()) - set(labels[torch.from_numpy(rows)].tolist())):
            named = listed(str(classes[k] if classes else k) for k in missing)
            _log.warning(
                "warning: of the %s pictures %s none is of %s of the %s classes: %s",
                *(f"{len(rows):,}", part, f"{len(missing):,}", f"{len(present):,}", named),
            )
    return torch.from_numpy(np.sort(kept)), torch.from_numpy(np.sort(held))
