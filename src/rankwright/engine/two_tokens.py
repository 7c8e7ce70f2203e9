"""`TwoTokens`: what a language model without a classification head is scored by."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TwoTokens"]


@dataclass(frozen=True)
class TwoTokens:
    """The tokens whose logits make the score.

    Attributes:
        true_id: Token id of the answer that says "relevant".
        false_id: Token id of the other answer, whose logit is subtracted. The score is then the
            log-odds of the two, and its sigmoid the probability of the first among them. None:
            the score is the first one's logit alone.
    """

    true_id: int
    false_id: int | None = None

    @property
    def ids(self) -> list[int]:
        """Both ids, or the only one."""
        return [self.true_id] if self.false_id is None else [self.true_id, self.false_id]
