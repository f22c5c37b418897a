"""A report in a browser: how large it is and of what, and how long until it stands.

    python bench/report.py RUN/report.html [OTHER/report.html ...]

Each file is opened five times in a headless Chromium of its own, the files in turns, so that what
else the machine does meets all of them; medians, and their ratio to the first file's. From
navigation on: the first words; the drawing of the first chart, which stands in the page and needs
no script; the load event; and how long after that the first chart that answers to the pointer has
been asked for and stands; and the processor time of the whole browser until the load event, which
says more than the clock on a busy machine. To compare two states of the source, give each one's
report of one run.

The same report with its model inside is 5.97 MB: the model 3.25, pictures 0.91, Vega's scripts
0.38, the drawings 0.35, what Vega draws 0.06; 9.35 MB before it was packed, with 10 bits a weight.

Measured before that, on 2026-11-29 on two cores on which six others worked (load 17 to 20),
celeba64's report: 4.54 MB, of which Vega's scripts 0.90, what it draws 0.33, the drawings made
before 0.62, pictures 1.74. First words after 0.44 to 0.57 s and the first chart's drawing with
them; the load event after 4.8 to 5.1 s, the first live chart 1.4 to 1.5 s later (at load 6 to 9:
2.5 to 3.4 s, and 0.6 to 0.9 s). Without Vega's scripts the main thread works 0.65 instead of 0.71 s
until all stands: they cost bytes, not time. Compiling them only when a chart is wanted made it 0.9
s; `loading="lazy"` on 816 pictures changed less than a tenth.
"""

from __future__ import annotations

import math
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from reporting.browser import Browser

TIMES = 5
PARTS = {
    "Vega, its scripts": r'id="packed-vega".*?</script>',
    "charts, what Vega draws": r'id="packed-charts".*?</script>',
    "the model": r'id="try-weights".*?</script>',
    "charts, drawn before": r'<div class="static">.*?</svg></div>',
    "pictures": r"data:image/[^\"')]*",
    "style": r"<style>.*?</style>",
}
# A frame after the first chart came into sight, its drawing is on the screen.
NOTE = """
window.when = {};
addEventListener('load', () => { when.load = performance.now(); });
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) when[entry.name] = entry.startTime;
}).observe({type: 'paint', buffered: true});
const look = () => {
  if (document.querySelector('.chart .static svg')) {
    requestAnimationFrame(() => { when.drawing = performance.now(); });
  } else requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""
LIVE = """
new Promise((done) => {
  const chart = document.querySelector('.chart'), asked = performance.now();
  if (!chart) return void done([when['first-contentful-paint'], NaN, when.load, NaN]);
  chart.scrollIntoView();
  const ready = () => {
    if (!chart.classList.contains('drawn')) return void requestAnimationFrame(ready);
    requestAnimationFrame(() => done([when['first-contentful-paint'], when.drawing, when.load,
      performance.now() - asked]));
  };
  ready();
})
"""
NAMES = (
    "processor until the load event",
    *("first words", "first chart, drawn before", "load event", "then, first live chart"),
)
_TICK = os.sysconf("SC_CLK_TCK")


def processor(of: int) -> float:
    """Milliseconds of the processor that a process and those below it have taken."""
    took: dict[int, float] = {}
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        process = int(stat.parent.name)
        parents[process] = int(words[1])
        took[process] = 1000 * (int(words[11]) + int(words[12])) / _TICK

    def below(process: int) -> bool:
        return process == of or (process in parents and below(parents[process]))

    return sum(time for process, time in took.items() if below(process))


def opened(page: Path) -> list[float]:
    """Milliseconds of one opening, in the order of `NAMES`."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(Path(profile))
        try:
            browser.call("Page.addScriptToEvaluateOnNewDocument", source=NOTE)
            before = processor(browser.process.pid)
            browser.call("Page.navigate", url=page.resolve().as_uri())
            until = time.monotonic() + 60
            while not browser.value("!!(window.when && when.load)") and time.monotonic() < until:
                time.sleep(0.05)
            took = processor(browser.process.pid) - before
            # A page without charts has no time of the first; JSON knows no NaN.
            return [took, *(math.nan if t is None else t for t in browser.value(LIVE))]
        finally:
            browser.close()


def main(pages: Sequence[Path]) -> None:
    """Print what the files hold, and how they open."""
    for page in pages:
        html = page.read_text(encoding="utf-8")
        print(f"{page}: {len(html.encode()) / 1e6:.2f} MB")
        for name, pattern in PARTS.items():
            size = sum(len(part.encode()) for part in re.findall(pattern, html, re.DOTALL))
            print(f"    {name}: {size / 1e6:.2f} MB")
    rounds = [[opened(page) for page in pages] for _ in range(TIMES)]
    first: list[float] = []
    for place, page in enumerate(pages):
        medians = [
            statistics.median(column) for column in zip(*(r[place] for r in rounds), strict=True)
        ]
        first = first or medians
        print(f"{page}, median of {TIMES}")
        for name, value, other in zip(NAMES, medians, first, strict=True):
            print(f"    {name}: {value:.0f} ms, {value / other:.2f} × the first file's")


if __name__ == "__main__":
    main([Path(word) for word in sys.argv[1:]])
