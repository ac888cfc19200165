"""The bed's kubeconfigs, which several threads write while others read them."""

import json
import threading
from pathlib import Path

from testbed.identities import ADMIN, Identities


def test_a_kubeconfig_is_whole_at_any_moment(tmp_path: Path) -> None:
    ids = Identities(tmp_path)
    ids.tokens.write_text(f'0123,admin,{ADMIN},"system:masters"\n')
    path = ids.kubeconfig(ADMIN, "https://127.0.0.1:1")
    ended = threading.Event()

    def write() -> None:
        while not ended.is_set():
            ids.kubeconfig(ADMIN, "https://127.0.0.1:1")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(2000):
            assert json.loads(path.read_text())["current-context"] == "bed"
    finally:
        ended.set()
        writer.join()
    assert set(tmp_path.iterdir()) == {path, ids.tokens}
