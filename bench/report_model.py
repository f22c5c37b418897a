"""The model inside a report, in Chromium, beside ONNX Runtime: the same labels, and how fast.

    python bench/report_model.py RUN DATA [--images N] [--plain]

RUN is a finished run whose `report.html` holds its model (candid report RUN writes it anew), DATA
where its pictures lie. Validation pictures, the first N of them, are handed to the page as files
and labelled there and by `candid predict`, each by itself. `--plain`: without WebAssembly.

The default run on CelebA at 64 pixels, 1,800 pictures, on two cores that other work shared: the
label is another for 0, the reason for no answer for 0; probabilities differ by at most 0.0051
(above 0.001 for 58); 0.058 s a picture in the median, framing and two looks. With a bit less for
each weight of the framing, and 7 instead of 8 in the largest layers: the reason is another for 1,
probabilities differ by at most 0.015 (above 0.01 for 2).
"""

from __future__ import annotations

import argparse
import base64
import sys
import tempfile
from pathlib import Path

import numpy as np

from candid.data.joining import load_places
from candid.pipeline.labelling import labeller
from candid.runs import open_run

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from reporting.browser import Browser

_ASK = """(async () => {{
  const bytes = Uint8Array.from(atob("{data}"), (letter) => letter.charCodeAt(0));
  const began = performance.now();
  const found = await candidTry.label(bytes, {{ plain: {plain} }});
  const took = performance.now() - began;
  found.bitmap.close();
  return [took, found.probabilities, found.unlike, found.unsure];
}})()"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=0)
    parser.add_argument("--plain", action="store_true")
    args = parser.parse_args()
    run = open_run(args.run)
    dataset = load_places(args.data, run.settings.data)
    rows = dataset.rows("validation")
    rows = rows[: args.images or len(rows)]
    home = labeller(run, common_frame=False)
    seconds, apart, other, reasons = [], [], 0, 0
    with tempfile.TemporaryDirectory() as profile:
        browser = Browser(Path(profile))
        try:
            browser.open(run.report)
            for row in rows.tolist():
                data = dataset.source.read(row)
                (said,) = home.answers(home.crops(data))
                given = base64.b64encode(data).decode()
                ask = _ASK.format(data=given, plain="true" if args.plain else "false")
                took, found, unlike, unsure = browser.value(ask)
                here = np.array(list(said.probability.values()))
                seconds.append(took / 1000)
                apart.append(float(np.abs(here - found).max()))
                other += int(here.argmax() != np.argmax(found))
                reasons += (unlike, unsure) != (said.unlike, bool(said.unsure))
        finally:
            browser.close()
    far = np.array(apart)
    print(
        f"{len(far):,} pictures: the label is another for {other}, the reason for no answer for "
        f"{reasons}; probabilities differ by at most {far.max():.2g} (above 0.01 for "
        f"{(far > 0.01).sum()}, above 0.001 for {(far > 0.001).sum()}); "
        f"{np.median(seconds):.3f} s a picture in the median, {max(seconds[1:]):.3f} s at most"
    )


if __name__ == "__main__":
    main()
