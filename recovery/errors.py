"""What can go wrong in recovery because of a person's choice or data."""

from lvlm import LVLM, LVLMError


class BadRecipe(LVLMError):
    """A recipe that cannot be followed, or not with this model, teacher or checkpoint."""


class RecoveryDiverged(LVLMError):
    """The loss became NaN or ran away. `best` is the model with the last good weights, on held-out samples."""

    def __init__(self, message: str, best: LVLM):
        super().__init__(message)
        self.best = best
