"""The model inside a report, in Chromium or Firefox, beside ONNX Runtime: same labels, how fast.

    python bench/report_model.py RUN DATA [--browser firefox] [--images N]
        [--answers FILE] [--plain]

RUN is a finished run whose `report.html` holds its model (candid report RUN writes it anew), DATA
where its pictures lie. Validation pictures, the first N of them, are handed to the page as bytes
and labelled there and by ONNX Runtime, each by itself. What both said of each picture is kept in
FILE, a line of JSON each: begun again, only those that are not in it are asked. `--plain`: without
WebAssembly.

The default run on CelebA at 64 pixels, 1,800 pictures, on two cores that other work shared: the
label is another for 0, the reason for no answer for 0; probabilities differ by at most 0.0051
(above 0.001 for 58); 0.058 s a picture in the median, framing and two looks. With a bit less for
each weight of the framing, and 7 instead of 8 in the largest layers: the reason is another for 1,
probabilities differ by at most 0.015 (above 0.01 for 2).

The same run, all 2,945 pictures, Chromium and Firefox alike: the label and the reason are another
for 0; probabilities differ by at most 0.0076 (above 0.001 for 95); 0.039 s a picture in the median
in
Chromium (0.127 at most), 0.041 in Firefox (0.192), on one core, the other busy.

A short run (64 batches, 150 of framing), all 2,945 pictures, Chromium and Firefox alike: the label
is another for 1, the reason for 0; probabilities differ by at most 0.0027 (above 0.001 for 121);
0.030 s a picture in the median in Chromium (0.196 at most), 0.016 s in Firefox (0.052 at most).
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from candid.data.joining import load_labels
from candid.pipeline.labelling import open_labeller
from candid.progress import track
from candid.runs import open_run

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from reporting.browser import Browser
from reporting.firefox import Firefox

_BROWSERS = {"chromium": Browser, "firefox": Firefox}

_ASK = """(async () => {{
  const bytes = Uint8Array.from(atob("{data}"), (letter) => letter.charCodeAt(0));
  const began = performance.now();
  const found = await candidTry.label(bytes, {{ plain: {plain} }});
  const took = performance.now() - began;
  found.bitmap.close();
  return [took, found.probabilities, found.unlike, found.unsure];
}})()"""


def asked(browser: Any, home: Any, data: bytes, *, plain: bool) -> dict[str, Any]:
    """What the page and ONNX Runtime say of a picture."""
    (said,) = home.answers(home.crops(data))
    given = base64.b64encode(data).decode()
    ask = _ASK.format(data=given, plain="true" if plain else "false")
    took, found, unlike, unsure = browser.value(ask)
    return {
        "seconds": took / 1000,
        "here": list(said.probability.values()),
        "page": found,
        "same_reason": (unlike, unsure) == (said.unlike, bool(said.unsure)),
    }


def told(answers: list[dict[str, Any]]) -> str:
    """How far the page is from ONNX Runtime, and how long it takes."""
    here, page = (np.array([a[which] for a in answers]) for which in ("here", "page"))
    other = here.argmax(axis=1) != page.argmax(axis=1)
    apart = np.abs(here - page).max(axis=1)
    # The first picture of a page waits for the model to be unpacked.
    seconds = np.array([a["seconds"] for a in answers if not a["first"]] or [np.nan])
    return (
        f"{len(answers):,} pictures: the label is another for {other.sum()}, the reason for no "
        f"answer for {sum(not a['same_reason'] for a in answers)}; probabilities differ by at most "
        f"{apart.max():.2g} (above 0.01 for {(apart > 0.01).sum()}, above 0.001 for "
        f"{(apart > 0.001).sum()}); {np.median(seconds):.3f} s a picture in the median, "
        f"{np.quantile(seconds, 0.99):.3f} s for 99 in 100, {seconds.max():.3f} s at most"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--browser", choices=list(_BROWSERS), default="chromium")
    parser.add_argument("--images", type=int, default=0)
    parser.add_argument("--answers", type=Path)
    parser.add_argument("--plain", action="store_true")
    args = parser.parse_args()
    run = open_run(args.run)
    dataset = load_labels(args.data, run.settings.data)
    rows = dataset.rows("validation")
    rows = rows[: args.images or len(rows)].tolist()
    kept: dict[int, dict[str, Any]] = {}
    if args.answers and args.answers.exists():
        for line in args.answers.read_text("utf-8").splitlines():
            answer = json.loads(line)
            kept[answer["row"]] = answer
    missing = [row for row in rows if row not in kept]
    if missing:
        home = open_labeller(run, engine="onnx", common_frame=False)
        with tempfile.TemporaryDirectory() as profile:
            browser = _BROWSERS[args.browser](Path(profile))
            try:
                browser.open(run.report)
                for row in track(missing, f"asking {args.browser}", unit="pictures"):
                    answer = asked(browser, home, dataset.source.read(row), plain=args.plain)
                    kept[row] = answer | {"row": row, "first": row == missing[0]}
                    if args.answers:
                        with args.answers.open("a", encoding="utf-8") as file:
                            file.write(json.dumps(kept[row]) + "\n")
            finally:
                browser.close()
    print(f"{args.browser}: {told([kept[row] for row in rows])}")


if __name__ == "__main__":
    main()
