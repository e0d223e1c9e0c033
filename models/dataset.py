"""The digits data: 1,797 handwritten digits of 8x8 pixels that come with scikit-learn, split once and for
all.

Pixels are 0 to 16 in the data set and are divided by 16 here, so that every input lies in [0, 1]^64; a
quarter of every class (450 images) is held out and never seen in training.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

TEST_SIZE = 450
SPLIT_SEED = 2024


@dataclass(frozen=True, eq=False)
class Digits:
    """Images are float32 [N, 1, 8, 8] in [0, 1]; labels are int64 [N] in 0..9."""

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray


def load() -> Digits:
    """The split every model here is trained and tested on: stratified, fixed by `SPLIT_SEED`."""
    digits = load_digits()
    images = (digits.images[:, np.newaxis] / 16.0).astype(np.float32)
    labels = digits.target.astype(np.int64)
    train_x, test_x, train_y, test_y = train_test_split(
        images, labels, test_size=TEST_SIZE, random_state=SPLIT_SEED, stratify=labels
    )
    return Digits(train_x, train_y, test_x, test_y)
