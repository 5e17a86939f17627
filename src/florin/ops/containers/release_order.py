"""Release order: what to do with the containers of an engine, and what was done."""

from dataclasses import dataclass, field, replace

from florin.ops.rollout.gate import Verification


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseOrder:
    """`flip`: return to instances that run already. `keep`: the replaced colour stays."""

    image: str
    blue_green: bool = False
    verify: bool = False
    plan: bool = False
    keep: bool = True
    flip: bool = False
    tls: bool = False
    batch: int = 1
    soak_s: float = 5.0

    def back_to(
        self, image: str, *, blue_green: bool = False, flip: bool = False
    ) -> "ReleaseOrder":
        return replace(self, image=image, blue_green=blue_green, flip=flip, verify=False)

    def undoing(self) -> "ReleaseOrder":
        """Return the order of the way back: nothing is checked or watched, nothing new stays."""
        return replace(self, verify=False, keep=False, flip=True, soak_s=0.0)


@dataclass(slots=True)
class ReleaseOutcome:
    """What was done. `flip_s`: how long the switch of a blue-green deployment took."""

    release: str
    steps: list[str] = field(default_factory=list[str])
    flip_s: float | None = None
    verification: Verification | None = None

    def __str__(self) -> str:
        parts = [f"{self.release} serves, after {len(self.steps)} steps"]
        parts += [f"the switch took {self.flip_s:.1f} s"] if self.flip_s is not None else []
        parts += [self.verification.describe()] if self.verification is not None else []
        return f"{'; '.join(parts)}."

    def document(self) -> dict[str, object]:
        """Return the outcome for `--json`; `steps` were taken, or with `--plan` would be."""
        details: dict[str, object] = {"outcome": "done", "release": self.release}
        details |= {"steps": self.steps, "flip_s": self.flip_s}
        if self.verification is not None:
            details |= {"requests": self.verification.requests, "failed": self.verification.failed}
        return details
