"""The page of a report in a real browser: headless Chromium, where there is one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from documents import document_of, hostile, slipping_back
from histories import Story

from pytest_expedition.report.html import as_html
from pytest_expedition.report.text import how_to_waive

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pytest_expedition.report.entries import Document

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), "")

pytestmark = pytest.mark.skipif(not BROWSER, reason=f"none of {', '.join(BROWSERS)} is installed")

WATCHED = """<!DOCTYPE html><meta charset="utf-8"><body><script>
const look = (report, width) => new Promise((resolve) => {
  const frame = document.createElement("iframe");
  frame.style = `width: ${width}px; height: 800px; border: 0`;
  frame.src = report;
  frame.onload = () => {
    const page = frame.contentDocument;
    const shown = (selector) =>
      [...page.querySelectorAll(selector)].filter((each) => each.getClientRects().length).length;
    const wide = [...page.querySelectorAll("body *")].filter(
      (each) => each.getBoundingClientRect().right > width + 0.5 && !each.closest(".skip, thead"));
    resolve({
      width: page.documentElement.scrollWidth,
      wide: wide.map((each) => each.outerHTML.slice(0, 80)),
      narrowest: Math.min(
        ...[...page.querySelectorAll(".requirements :is(tbody th, .why, .source)")].map(
          (each) => each.clientWidth)),
      buttons: shown(".curl button"),
      charts: shown("svg.chart"),
      articles: shown("article"),
      colour: frame.contentWindow.getComputedStyle(page.body).backgroundColor,
      verdict: page.querySelector("h1").innerText,
    });
  };
  document.body.append(frame);
});
Promise.all(REPORTS.map(([report, width]) => look(report, width))).then((seen) => {
  document.body.textContent = "seen:" + JSON.stringify(seen) + ":seen";
});
</script>
"""
"""A page that shows reports in frames of some width, and says what they look like there."""

LOUD = "<!DOCTYPE html><script>console.error('a cry'); nothing.at.all</script>"


def browse(folder: Path, page: str, *options: str) -> tuple[str, list[str]]:
    """Open a page; return its document once it has loaded, and what the console said."""
    result = subprocess.run(
        [
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--allow-file-access-from-files",
            "--enable-logging=stderr",
            "--virtual-time-budget=5000",
            f"--user-data-dir={folder / 'profile'}",
            *options,
            "--dump-dom",
            (folder / page).as_uri(),
        ],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
        timeout=120,
    )
    said = [line for line in result.stderr.splitlines() if "CONSOLE" in line]
    return result.stdout, said


def look_at(folder: Path, documents: Sequence[tuple[Document, int]], *options: str) -> Any:
    """Show reports, each in so many CSS pixels; return what is seen of each."""
    reports = []
    for number, (document, width) in enumerate(documents):
        reports.append((f"report{number}.html", width))
        (folder / reports[-1][0]).write_text(as_html(document), encoding="utf-8")
    watched = WATCHED.replace("REPORTS", json.dumps(reports))
    (folder / "watch.html").write_text(watched, encoding="utf-8")
    shown, said = browse(folder, "watch.html", *options)
    assert said == []
    found = re.search("seen:(.*):seen", shown)
    assert found is not None, shown
    return json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">"))


def test_an_error_on_the_console_would_be_seen(tmp_path: Path) -> None:
    (tmp_path / "loud.html").write_text(LOUD, encoding="utf-8")
    _, said = browse(tmp_path, "loud.html")
    assert len(said) == 2
    assert "a cry" in said[0]


def test_reports_open_without_an_error_and_are_not_too_wide(tmp_path: Path) -> None:
    """One browser shows them all: that takes much less time than one for each."""
    documents = [
        (document_of(story()), width)
        for width in (360, 1280)
        for story in (slipping_back, hostile, Story)
    ]
    for (document, width), seen in zip(documents, look_at(tmp_path, documents), strict=True):
        entries = document["requirements"]
        told = [each for each in entries if each["evidence"] and not each["follows_from"]]
        waivers = [each for each in told if how_to_waive(each, document)]
        assert seen["wide"] == []
        assert seen["width"] <= width
        assert seen["narrowest"] > (300 if width == 360 else 150)  # a phone shows cards, no columns
        assert seen["verdict"].endswith(document["verdict"])
        assert seen["articles"] == seen["charts"] == len(told)
        assert seen["buttons"] == len(told) + len(waivers)  # each has commands, some have a waiver


@pytest.mark.long
def test_dark_is_dark_and_light_is_light(tmp_path: Path) -> None:
    documents = [(document_of(slipping_back()), 800)]
    (dark,) = look_at(tmp_path, documents, "--blink-settings=preferredColorScheme=0")
    (light,) = look_at(tmp_path, documents, "--blink-settings=preferredColorScheme=1")
    assert (dark["colour"], light["colour"]) == ("rgb(13, 17, 23)", "rgb(255, 255, 255)")
