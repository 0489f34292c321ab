"""Draws the picture of a report that the README shows: `python tests/picture.py`.

Needs Chromium, as `test_browser.py` does.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from test_browser import browse

from pytest_expedition.fake.broken import BROKEN
from pytest_expedition.report.document import assemble, requirement_entry, run_entry
from pytest_expedition.report.html import as_html
from pytest_expedition.suite.embedded import embedded_target
from pytest_expedition.suite.run import run_contract

PICTURE = Path(__file__).parent / "examples" / "report.png"
SHOWN = "redelivered-by-the-queue"
SIZE = "960,1240"


def main() -> None:
    with embedded_target(BROKEN[SHOWN].make) as target:
        found = run_contract(target, seed=1)
    entries = [requirement_entry(found, result) for result in found.results]
    page = as_html(assemble([run_entry(found)], entries))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "report.html").write_text(page, encoding="utf-8")
        options = (f"--window-size={SIZE}", "--hide-scrollbars", f"--screenshot={PICTURE}")
        browse(folder, "report.html", *options)


if __name__ == "__main__":
    main()
