"""The picture of `kubectl ovnlet` in the docs is what a terminal gets, by the recorded answers."""

import html
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.text import Text

from docs.blocks import DOCS
from kit.api_server import ApiServer, write_kubeconfig
from proofs.demo.picture import WIDTH, svg

PICTURE = DOCS / "how-to" / "cluster-tools.svg"
KUBECTL = "from ovnlet.cluster.commands import kubectl; kubectl()"
FAULT = {
    "level": "fault",
    "area": "CNI",
    "what": "the runtime uses /etc/cni/net.d/00-other.conf, which sorts before ours",
    "fix": "remove it, or rename it",
}
BLACKHOLE = "route blackhole 10.16.0.0/30 is more specific than ours"
LINES = ("status -o wide", "doctor --all", "trace default/sender tcp default/target:8080")


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Iterator[Path]:
    """Give a kubeconfig for the recorded cluster, in which a node has a fault and a pod another."""
    with ApiServer.recorded() as server:
        server.say([FAULT], "n1", "doctor", "-o", "json", code=3)
        arrived = ("n1", "hop", "default/target", "--port", "8080")
        server.say({**server.answer(*arrived), "interference": [BLACKHOLE]}, *arrived)
        yield write_kubeconfig(tmp_path / "kubeconfig", server.url)


def on_a_terminal(line: str, kubeconfig: Path) -> Text:
    """Return a line as it is typed, and what its standard output, a terminal, gets."""
    ours, theirs = pty.openpty()
    words = [sys.executable, "-c", KUBECTL, *line.split(), f"--kubeconfig={kubeconfig}"]
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(WIDTH), "OVNLET_OVN_TRACE": ""}
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.DEVNULL, env=env
    ) as process:
        os.close(theirs)
        printed = b""
        try:
            while data := os.read(ours, 1 << 16):
                printed += data
        except OSError:  # the process has closed its side
            pass
        process.wait(60)
    os.close(ours)
    text = printed.decode().replace("\r\n", "\n")
    return Text.from_ansi(f"\x1b[1m$ kubectl ovnlet {line}\x1b[0m\n{text}")


def words(picture: str) -> str:
    """Return the text of a picture. Its frames and colours are as the installed rich draws them."""
    texts = re.findall(r"<text [^>]*>([^<]*)</text>", picture)
    return re.sub(r"[\s\u2500-\u257f]+", "", html.unescape("".join(texts)))


def test_the_picture_is_what_a_terminal_gets(kubeconfig: Path) -> None:
    drawn = svg("kubectl ovnlet", [on_a_terminal(line, kubeconfig) for line in LINES])
    if os.environ.get("UPDATE_DOCS"):
        PICTURE.write_text(drawn)
    assert words(PICTURE.read_text()) == words(drawn), "UPDATE_DOCS=1 draws it again"
    page = (DOCS / "how-to" / "cluster-tools.md").read_text()
    assert f"({PICTURE.name})" in page
