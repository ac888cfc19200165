"""Two network namespaces of one test's own: the node's, which the test runs in, and a pod's.

The machine's own namespace is never worked on. Everything is made and removed with iproute2, so that
no code under test has a hand in it.
"""

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _root() -> None:
    if os.geteuid() != 0:
        pytest.fail("this floor needs root: it works on real kernel namespaces")


def ip(*words: str, netns: str = "") -> str:
    place = ["-n", netns] if netns else []
    return subprocess.run(["ip", *place, *words], check=True, capture_output=True, text=True, timeout=20).stdout


def ip_json(*words: str, netns: str = "") -> list[dict[str, Any]]:
    place = ["-n", netns] if netns else []
    return list(json.loads(ip("-d", "-j", *place, *words) or "[]"))


@dataclass
class Space:
    """A namespace by its name in /run/netns, and iproute2 inside it."""

    name: str

    @property
    def path(self) -> str:
        return f"/run/netns/{self.name}"

    def ip(self, *words: str) -> str:
        return ip(*words, netns=self.name)

    def json(self, *words: str) -> list[dict[str, Any]]:
        return ip_json(*words, netns=self.name)

    def link(self, name: str) -> dict[str, Any]:
        (found,) = [each for each in self.json("link") if each["ifname"] == name]
        return found

    def links(self) -> set[str]:
        return {each["ifname"] for each in self.json("link")} - {"lo"}

    def add(self) -> None:
        ip("netns", "add", self.name)

    def delete(self) -> None:
        if Path(self.path).exists():
            ip("netns", "del", self.name)


@dataclass
class Bed:
    """``node`` is entered by the test's thread; further pods are made by ``another``."""

    node: Space
    pod: Space
    spaces: list[Space] = field(default_factory=list)

    def another(self, role: str) -> Space:
        space = Space(f"{self.node.name.removesuffix('-node')}-{role}")
        space.add()
        self.spaces.append(space)
        return space


@pytest.fixture
def bed() -> Iterator[Bed]:
    stem = f"ovnlet-{secrets.token_hex(4)}"
    node, pod = Space(f"{stem}-node"), Space(f"{stem}-pod")
    spaces = [node, pod]
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        for space in spaces:
            space.add()
        fd = os.open(node.path, os.O_RDONLY)
        os.setns(fd, os.CLONE_NEWNET)
        os.close(fd)
        yield Bed(node, pod, spaces)
    finally:
        os.setns(own, os.CLONE_NEWNET)
        os.close(own)
        for space in spaces:
            space.delete()
