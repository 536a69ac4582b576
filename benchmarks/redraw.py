"""From launch to the first usable page, and from moving the ratio to new figures: as a person sees it, in a real
browser.

    python -m benchmarks.redraw                       # the bundled model, forty moves; needs Debian's chromium
    python -m benchmarks.redraw --moves 10 --no-table

The app runs in a process of its own, as `make demo` starts it. Each move sets the slider as a hand does; time runs in
the page, from the slider's event to the server's answer (the button names the new share) and on to the frame after
Plotly has drawn the network and the neurons anew. tests/ui/test_page.py bounds the server's part
(plan, cards and figures of a 7B model) by itself, tests/ui/test_browser.py the first page.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, sync_playwright

from benchmarks.machine import machine
from benchmarks.pages import README, write_into
from benchmarks.sessions import serve

FIRST_PAGE = 15.0  # s: the bar, from launch to a page that can prune
FIGURES = ("network", "neurons")  # they change with every share; heads go by whole ones, and influence stays
# Each figure's data object is another one once it was drawn anew.
MOVE = """async ([share, names]) => {
  const slider = document.querySelector("#ratio input[type=range]"), button = document.querySelector("#prune");
  const drawn = () => names.map(name => document.querySelector(`#plot-${name} .js-plotly-plot`)?.data);
  const before = drawn(), said = button.innerText;
  const frame = () => new Promise(requestAnimationFrame);
  Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(slider, share);
  const began = performance.now();
  slider.dispatchEvent(new Event("input", { bubbles: true }));
  let answered = null;
  while (performance.now() - began < 60_000) {
    await frame();
    if (answered === null && button.innerText !== said) answered = performance.now();
    if (answered !== null && drawn().every((data, i) => data && data !== before[i])) {
      await frame();
      return [answered - began, performance.now() - began];
    }
  }
  return null;
}"""


def moves(page: Page, count: int) -> np.ndarray:
    """(count, 2) ms to the answer and to the figures. Raises RuntimeError where a move redraws nothing."""
    times = []
    for number in range(count):
        share = (20, 45)[number % 2] + number % 7  # no two moves in a row to one share
        took = page.evaluate(MOVE, [str(share), FIGURES])
        if took is None:
            raise RuntimeError(f"Moving the ratio to {share}% redrew nothing within a minute.")
        times.append(took)
    return np.array(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moves", type=int, default=40)
    parser.add_argument("--no-table", action="store_true", help="print only")
    given = parser.parse_args()
    lines = ["| moving the ratio | median | 95% | slowest |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        launched = time.monotonic()
        process, url = serve(Path(scratch) / "app.txt")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        try:
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.set_default_timeout(600_000)
            page.goto(url)
            page.wait_for_selector("#plot-neurons .main-svg")
            page.wait_for_selector("#prune:enabled")
            first = time.monotonic() - launched
            moves(page, 3)  # before anything is timed
            times = moves(page, given.moves)
            for name, column in zip(("to the server's answer", "to the figures drawn anew"), times.T, strict=True):
                p50, p95 = np.percentile(column, [50, 95])
                lines.append(f"| {name} | {p50:.0f} ms | {p95:.0f} ms | {column.max():.0f} ms |")
        finally:
            browser.close()
            process.terminate()
            process.wait(20)
    missed = "" if first <= FIRST_PAGE else ", missed"
    lines += ["", f"From launch to the first usable page: {first:.1f} s (bar: ≤ {FIRST_PAGE:.0f} s{missed})."]
    print(*lines, sep="\n")
    if not given.no_table:
        write_into(README, "redraw", "\n".join(lines) + f"\n\n{machine()}; the browser on the same machine.")


if __name__ == "__main__":
    main()
