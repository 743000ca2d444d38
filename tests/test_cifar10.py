"""Real pictures: the unpacked CIFAR-10 JPEG copy, where COMPACT_VIT_CIFAR10 names its folder."""

from __future__ import annotations

import os

import pytest

from compact_vit.data import load_dataset

FOLDER = os.environ.get("COMPACT_VIT_CIFAR10")
pytestmark = pytest.mark.skipif(not FOLDER, reason="COMPACT_VIT_CIFAR10 is unset")


def test_folder_is_whole() -> None:
    splits = load_dataset("folder", data_dir=FOLDER)
    assert (len(splits.train), len(splits.test), splits.val) == (50_000, 10_000, None)
    assert splits.train.labels.bincount().tolist() == [5_000] * 10
    assert splits.test.labels.bincount().tolist() == [1_000] * 10
    # the statistics of the originals, which JPEG moves by little
    assert splits.mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=0.005)
    assert splits.std == pytest.approx((0.2470, 0.2435, 0.2616), abs=0.01)
    assert splits.train.images.shape[1:] == (3, 32, 32)
