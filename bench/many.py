"""Reports of forty labels and of a hundred classes: whether they stay readable, and what they cost.

    python bench/many.py OUT
    python bench/many.py OUT attributes classes

Faces are drawn, and given 160 labels of yes and no and one of a hundred values, of which the face
shows some. They are learned in little time, through the command line: one label beside 160
attributes, a hundred classes beside 40, forty labels together. The reports are opened in Chromium
on a phone (390 pixels) and on a desk (1280): printed are what hangs out sideways of the page, and
per file what `bench/report.py` says; pictures of the pages lie in OUT. A run that lies there
already is not repeated.

Measured on one core of which this had about a twentieth (load 16 to 28; the clock says little):
921 test pictures of 270 people, audits with 200 draws. Openings: median of 3, in turns; processor
time of all of Chromium until the load event, then the clock until the first chart and that event.

    160 attributes   112,071 gaps, 55,401 pairs; run 962 s; 2.60 MB; 1.25 s; 1.8 s, 4.6 s
    100 classes      14,201 gaps, 9,494 groups; run 822 s; 4.89 MB; 1.84 s; 1.4 s, 5.9 s; nothing
                     hangs out at 390 and at 1280
    celeba64's       the default report, in the same turns: 5.97 MB; 1.79 s; 1.9 s, 7.2 s

So they take 0.70 and 1.03 times the processor of celeba64's report, and 0.64 and 0.82 times its
clock. Not looked at for what hangs out: 160 attributes (Chromium did not answer in time). With
pictures of all hundred classes instead of 24 that report had 6.43 MB and took 1.35 times as much.

Forty labels were measured before that at a load of 14, median of 3 openings until the load event:
the overview 0.08 MB, 188 ms; one of the forty 1.31 MB, 405 ms, its first live chart 623 ms later.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import report

from candid.data.synthetic import FaceWorld, write_faces
from reporting.browser import Browser

LABELS = [f"Label_{i:02d}" for i in range(40)]
ATTRIBUTES = [*LABELS, *(f"Attribute_{i:03d}" for i in range(len(LABELS), 160))]
LITTLE = ["train.steps=60", "network.width=8", "framing.steps=0"]
LITTLE += ["explain.images=40", "explain.check_images=8", 'explain.methods=["gradient"]']
LITTLE += ["audit.draws=200", "audit.slices=0", "audit.more=false"]


def label(faces: Path) -> None:
    """Add the columns to `labels.csv`: a third of each is what the face shows, the rest drawn."""
    rng = np.random.default_rng(0)
    with (faces / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    shown = ("Smiling", "Eyeglasses", "Wearing_Hat")
    kinds = np.linspace(2, 0.3, 100) / np.linspace(2, 0.3, 100).sum()
    for row in rows:
        for i, name in enumerate(ATTRIBUTES):
            seen = row[shown[i % len(shown)]]
            row[name] = seen if rng.random() < 0.34 + i / 320 else rng.choice(["no", "yes"])
        row["Kind"] = f"kind of face number {rng.choice(100, p=kinds)}"
    with (faces / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def run(faces: Path, out: Path, targets: list[str], attributes: list[str]) -> None:
    """`candid run` of these labels beside these attributes."""
    if (out / "report.html").is_file():
        return
    words = [sys.executable, "-m", "candid", "run", faces, "--out", out]
    words += [w for target in targets for w in ("--target", target)]
    beside = f"data.attributes={json.dumps([a for a in attributes if a not in targets])}"
    words += [w for setting in (*LITTLE, beside) for w in ("--set", setting)]
    began = time.perf_counter()
    subprocess.run([str(w) for w in words], check=True)
    print(f"{out.name}: made in {time.perf_counter() - began:.0f} s", flush=True)


def look(page: Path, name: str, out: Path) -> None:
    """Open a page at both widths: a picture of it, and what hangs out once it is unfolded."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(Path(profile))
        try:
            for width in (390, 1280):
                browser.open(page, width=width)
                browser.screenshot(out / f"{name}-{width}.png")
                browser.draw()
                over = browser.value("document.documentElement.scrollWidth - innerWidth")
                print(f"{name} at {width}: {over} pixels hang out sideways", flush=True)
        finally:
            browser.close()


RUNS = {
    "attributes": (["Smiling"], ATTRIBUTES),
    "classes": (["Kind"], LABELS),
    "labels": (LABELS, LABELS),
}


def main(out: Path, *names: str) -> None:
    """Make the runs and look at their reports."""
    faces = out / "faces"
    if not faces.is_dir():
        world = FaceWorld(n=3000, people=900, side=32, validation_share=0.2, test_share=0.3)
        label(write_faces(faces, world))
    pages = {}
    for name in names or RUNS:
        run(faces, out / name, *RUNS[name])
        pages[name] = out / name / "report.html"
        if name == "labels":
            pages["one label"] = out / name / "targets" / LABELS[-1] / "report.html"
    for name, page in pages.items():
        look(page, name.replace(" ", "-"), out)
    report.main(list(pages.values()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
