"""What hostile inputs stand beside: a model that works, a whole run, good pictures and a table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from commands import call
from inference.tiny import tiny_run

QUICK = (
    *("data.side=16", "train.steps=4", "train.batch_size=16", "train.evaluations=1"),
    *("network.name=plain", "evaluate.draws=50", "audit.draws=50"),
    *("audit.slices=0", "audit.more=false", "explain.images=8", "explain.check_images=4"),
    *('explain.methods=["gradient"]', 'explain.fills=["mean"]', "explain.max_groups=0"),
    "explain.draws=50",
)
SETTINGS = [word for name in QUICK for word in ("--set", name)]


@dataclass(frozen=True)
class Kit:
    """Paths of good things; hostile cases work on copies."""

    root: Path

    @property
    def model(self) -> Path:
        """A run with a model and nothing else."""
        return self.root / "model"

    @property
    def run(self) -> Path:
        """A run with everything in it."""
        return self.root / "run"

    @property
    def faces(self) -> Path:
        """The run's data: a folder of pictures with labels.csv."""
        return self.root / "faces"

    def explore(self, data: Path, scratch: Path) -> list[str]:
        """The command that explores some data."""
        cache = ["--cache", str(scratch / "cache")]
        return ["explore", str(data), "--quiet", "--set", "data.side=16", *cache]


def make(root: Path) -> Kit:
    """Make them; half a minute."""
    from candid.data.synthetic import demo_world, write_faces

    kit = Kit(root)
    tiny_run(kit.model)
    assert call("export", kit.model, "--quiet") == 0  # once, and not in the first case
    write_faces(kit.faces, demo_world(60, side=16, seed=0), quiet=True)
    run = ["run", kit.faces, "--target", "Face", "--out", kit.run, "--cache", root / "cache"]
    assert call(*run, *SETTINGS, "--quiet") == 0
    return kit
