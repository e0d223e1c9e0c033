"""Sign-gradient ascent inside boxes, many rows side by side: the one that every search takes.

With the best point x̂ of a row so far, the gradient ∇ there and the box [low, high],

    x ← clip(x̂ + α (high - low) ⊙ sign ∇),

where α is 1 first, which is the corner that the gradient points to, and is halved whenever the new point is
no better than x̂. Points are float32 numbers inside the box.
"""

import numpy as np

from onnxpath.evaluate.layout import Boxes


class Ascent:
    """The state of every row. owners [rows]: its box; best, slope [rows, entries]; top, pace [rows]: the
    value at `best`, and α."""

    def __init__(self, boxes: Boxes, owners: np.ndarray, points: np.ndarray):
        self._boxes, self.owners = boxes, owners
        self.best, self.slope = points.copy(), np.zeros(points.shape, np.float32)
        self.top, self.pace = np.full(len(points), -np.inf), np.ones(len(points))

    def take(self, points: np.ndarray, values: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Points that were evaluated; [rows]: which are better than what was known. No value is NaN."""
        better = values > self.top
        self.best[better], self.slope[better] = points[better], gradient[better]
        self.top[better] = values[better]
        self.pace[~better] /= 2
        return better

    def step(self) -> np.ndarray:
        """The points to evaluate next."""
        low, high = self._boxes.low[self.owners], self._boxes.high[self.owners]
        with np.errstate(invalid="ignore", over="ignore"):
            move = np.nan_to_num(np.sign(self.slope)) * self.pace[:, None] * self._boxes.width[self.owners]
            return np.clip((self.best + move).astype(np.float32), low, high)

    def restart(self, row: int, pace: float) -> None:
        """Forget what a row has reached: its next point is the best one."""
        self.top[row], self.pace[row] = -np.inf, pace
