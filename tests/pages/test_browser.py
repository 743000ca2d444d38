"""The page in a real browser, where one is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")


def opened(page: str, tmp_path: Path) -> tuple[str, list[str]]:
    """The document as the browser holds it, and what it said on its console."""
    assert BROWSER is not None
    file = tmp_path / "page.html"
    file.write_text(page, encoding="utf-8")
    # the browser itself would look for updates: its way out is a port where nobody listens
    quiet = ("--no-first-run", "--disable-background-networking", "--proxy-server=127.0.0.1:9")
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", *quiet,
         f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--log-level=0",
         "--dump-dom", file.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout, re.findall(r"CONSOLE.*", done.stderr)


def test_it_opens_without_a_complaint_and_asks_for_nothing(page, parsed, tmp_path) -> None:
    # what asks for another file is refused by the page's own policy, and said on the console
    document, console = opened(page(), tmp_path)
    assert console == []
    assert parsed(document).text == parsed(page()).text  # nothing that it had to mend
    assert document.count("<svg") == 6  # one holds the hatching


@pytest.mark.parametrize(
    "more",
    [
        '<img src="http://127.0.0.1:9/x.png">',
        "<script>alert(1)</script>",
        '<link rel="stylesheet" href="style.css">',
        '<img src="other.png">',
    ],
)
def test_the_browser_would_complain(page, tmp_path, more) -> None:
    _, console = opened(page().replace("</body>", f"{more}</body>"), tmp_path)
    assert any("Content Security Policy" in line for line in console)
