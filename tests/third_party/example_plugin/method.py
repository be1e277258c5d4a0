"""A method: every negative must stay a margin below its pair, softly; the margin grows with the epochs."""

from pydantic import Field
from torch.nn.functional import softplus

from robustcmr.methods.base import Method
from robustcmr.options import Options
from robustcmr.types import StepResult


class Margin(Method):
    """Soft margin over all negatives of the batch."""

    class Config(Options):
        """How large and how soft the margin is."""

        margin: float = Field(0.2, ge=0, description="Margin in units of the score.")
        temperature: float = Field(0.05, gt=0, description="Softness in units of the score.")

    def training_step(self, batches):
        (batch,) = batches.values()
        scores = self.matchers[0](batch.images, batch.texts)  # (B, B)
        margin = self.config.margin * min(1.0, (self.epoch + 1) / 3)
        distance = scores - scores.diagonal().unsqueeze(1) + margin
        costs = softplus(distance / self.config.temperature).masked_fill(batch.same_image, 0.0)
        loss = costs.sum() / (~batch.same_image).sum().clamp(min=1)
        return StepResult(loss, {"margin": margin})
