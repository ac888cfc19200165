"""The kernels in the cache: each of Debian's layouts is found again, and not fetched twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed import kernel

VERSION = "9.9.1+deb13-amd64"


def cached(root: Path, image: str) -> Path:
    """Put a kernel in the cache whose image is at that path of its tree, and return the image."""
    tree = root / "kernel-backports" / VERSION
    modules = tree / "usr" / "lib" / "modules" / VERSION
    modules.mkdir(parents=True)
    (tree / "lib").symlink_to("usr/lib")
    (modules / "modules.dep").write_text("kernel/net/openvswitch/openvswitch.ko.xz:\n")
    (modules / "modules.builtin").write_text("kernel/fs/overlayfs/overlay.ko\n")
    path = tree / image.format(version=VERSION)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"image")
    return path


@pytest.mark.parametrize(
    "image",
    ["boot/vmlinuz-{version}", "usr/lib/modules/{version}/vmlinuz"],
    ids=["boot", "modules"],
)
def test_a_kernel_in_the_cache_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image: str
) -> None:
    """Debian's kernels from 7.3 on have their image beside the modules, and nothing in /boot."""

    def fetch(*_words: object) -> None:
        raise AssertionError("the kernel is fetched, although the cache has it")

    monkeypatch.setenv("OVNLET_CACHE", str(tmp_path))
    monkeypatch.setattr(kernel, "_fetch", fetch)
    path = cached(tmp_path, image)
    found = kernel.stock("backports")
    assert found.version == VERSION
    assert found.image == path
    assert "openvswitch" not in kernel.lacks(found)
    assert "overlay" not in kernel.lacks(found)
    assert "geneve" in kernel.lacks(found)
