"""Settings of pair scores: direction, attention and pooling."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Direction = Literal["both", "t2i", "i2t"]
Normalise = Literal["clipped_l2", "plain"]
Pooling = Literal["mean", "lse"]
CHOICES = {
    "direction": get_args(Direction),
    "normalise": get_args(Normalise),
    "pooling": get_args(Pooling),
}


@dataclass(frozen=True)
class PairSettings:
    """How nodes attend to each other, and how their cosines become one score.

    The defaults are those of the model's own similarity (`resg.config.SimilaritySettings`).

    Attributes:
        direction: words attend to regions (`t2i`), regions to words (`i2t`), or the mean of both.
        temperatures: inverse softmax temperatures, of attending words and of attending regions.
        normalise: of the logits, `plain` (none) or `clipped_l2` (LeakyReLU 0.1, then L2 over the
            attending side's nodes).
        pooling: mean over the attending nodes' cosines, or their log-sum-exp.
        lambda_lse: scale of the log-sum-exp.
    """

    direction: Direction = "both"
    temperatures: tuple[float, float] = (9.0, 4.0)
    normalise: Normalise = "plain"
    pooling: Pooling = "mean"
    lambda_lse: float = 6.0

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} is one of {', '.join(choices)}, not {getattr(self, name)!r}"
                )
        if len(self.temperatures) != 2 or not all(0 < value <= 1000 for value in self.temperatures):
            raise ValueError(
                "temperatures are two numbers above 0 and at most 1000 (words attend, regions "
                f"attend), not {self.temperatures!r}"
            )
        if not 0 < self.lambda_lse <= 1000:
            raise ValueError(
                f"lambda_lse is a number above 0 and at most 1000, not {self.lambda_lse!r}"
            )

    @property
    def words_attend(self) -> bool:
        """Whether words attend to regions."""
        return self.direction != "i2t"

    @property
    def regions_attend(self) -> bool:
        """Whether regions attend to words."""
        return self.direction != "t2i"

    def values(self) -> tuple[str, list[float], str, str, float]:
        """The plain values that a schema of torch.library can take."""
        return (
            self.direction,
            list(self.temperatures),
            self.normalise,
            self.pooling,
            self.lambda_lse,
        )

    @classmethod
    def from_values(
        cls,
        direction: str,
        temperatures: Sequence[float],
        normalise: str,
        pooling: str,
        lambda_lse: float,
    ) -> "PairSettings":
        """The inverse of `values`."""
        words_attend, regions_attend = temperatures
        return cls(direction, (words_attend, regions_attend), normalise, pooling, lambda_lse)  # type: ignore[arg-type]
