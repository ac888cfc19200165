"""A container runtime of one network, as far as the CNI specification says what it does.

It calls the plugins of a network list in the specification's order, derives what each gets on its
standard input, and caches the result of an ADD, which a later CHECK and DEL pass on as
`prevResult`. No packaged runtime calls CHECK and GC, so tests call them by this one. Sections are
those of the specification 1.1.0; where it leaves something open, libcni's choice is named.

Only the standard library is used: it is also a program that runs inside a node,
`cni_runtime.py VERB --list F --path D --cache D`, which prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = dict[str, Any]
VALID = "cni.dev/valid-attachments"
_FIRST_WITH_CHECK, _FIRST_WITH_GC = (0, 4, 0), (1, 1, 0)
# Section 3: what the runtime derives, and so may not be in a list's own plugins.
_DERIVED = ("capabilities", "prevResult", "runtimeConfig", VALID)


class PluginFailed(Exception):
    """A plugin's error object, and which plugin it is from."""

    def __init__(self, plugin: str, error: Json) -> None:
        super().__init__(f"{plugin}: {error}")
        self.plugin, self.error = plugin, error


class Refused(Exception):
    """The runtime may not do this: the specification, or the list itself, says so."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """One interface of one container (section 2, parameters)."""

    container: str
    netns: str
    ifname: str = "eth0"
    args: str = ""

    @property
    def key(self) -> Json:
        """How a list of valid attachments names it."""
        return {"containerID": self.container, "ifname": self.ifname}

    def environment(self, verb: str, path: str) -> dict[str, str]:
        """Return the variables of a call for this attachment."""
        return {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": self.container,
            "CNI_NETNS": self.netns,
            "CNI_IFNAME": self.ifname,
            "CNI_ARGS": self.args,
            "CNI_PATH": path,
        }


class Cache:
    """The attachments of one network with the results of their ADDs, one file each, as libcni's.

    ``directory`` is shared by the networks of a node.
    """

    def __init__(self, directory: Path, network: str) -> None:
        self._directory, self._network = directory, network

    def path(self, attachment: Attachment) -> Path:
        """Return the file of an attachment."""
        name = f"{self._network}-{attachment.container}-{attachment.ifname}"
        return self._directory / name

    def put(self, attachment: Attachment, result: Json) -> None:
        """Keep the result of an ADD."""
        self._directory.mkdir(parents=True, exist_ok=True)
        body = {
            "network": self._network,
            "container": attachment.container,
            "netns": attachment.netns,
            "ifname": attachment.ifname,
            "args": attachment.args,
            "result": result,
        }
        self.path(attachment).write_text(json.dumps(body))

    def result(self, attachment: Attachment) -> Json | None:
        """Return the result of the last ADD; None without one."""
        try:
            body = json.loads(self.path(attachment).read_text())
        except FileNotFoundError:
            return None
        result: Json = body["result"]
        return result

    def remove(self, attachment: Attachment) -> None:
        """Forget an attachment."""
        self.path(attachment).unlink(missing_ok=True)

    def attachments(self) -> list[Attachment]:
        """Return the attachments of this network that have a result."""
        bodies = [json.loads(path.read_text()) for path in sorted(self._directory.glob("*"))]
        return [
            Attachment(body["container"], body["netns"], body["ifname"], body["args"])
            for body in bodies
            if body["network"] == self._network
        ]


class Runtime:
    """Calls the plugins of a network list, found by their `type` in ``path`` (colons between)."""

    def __init__(self, network: Json, path: str, cache: Path) -> None:
        self._network, self._path = network, path
        self._plugins: list[Json] = list(network["plugins"])
        self._cache = Cache(cache, network["name"])

    def version(self) -> dict[str, list[str]]:
        """Return the versions that each plugin supports.

        Raise Refused if one does not support the list's.
        """
        found = {}
        for plugin in self._plugins:
            answer = self._call(plugin, {"CNI_COMMAND": "VERSION", "CNI_PATH": self._path}, {})
            found[plugin["type"]] = list(answer["supportedVersions"])
            if self._network["cniVersion"] not in answer["supportedVersions"]:
                raise Refused(f"{plugin['type']} does not support {self._network['cniVersion']}")
        return found

    def add(self, attachment: Attachment) -> Json:
        """Attach, keep the result of the last plugin, and return it.

        Each plugin after the first gets the result of the one before it. After a failure nothing
        more is called: the caller decides about a DEL. Raise PluginFailed.
        """
        result: Json | None = None
        for plugin in self._plugins:
            result = self._run("ADD", plugin, attachment, result)
        self._cache.put(attachment, result or {})
        return result or {}

    def check(self, attachment: Attachment) -> None:
        """Check, each plugin with the cached result of the ADD. Raise PluginFailed or Refused."""
        if self._at_least(_FIRST_WITH_CHECK) is False:
            raise Refused("CHECK needs cniVersion 0.4.0")
        if self._network.get("disableCheck"):
            return
        result = self._cache.result(attachment)
        if result is None:
            raise Refused("CHECK of an attachment that has no ADD, or has been deleted")
        for plugin in self._plugins:
            self._run("CHECK", plugin, attachment, result)

    def delete(self, attachment: Attachment) -> None:
        """Detach, in reverse order, each plugin with the cached result if there is one.

        The cache is kept where a plugin fails, so that the DEL can be repeated. Raise PluginFailed.
        """
        result = self._cache.result(attachment) if self._at_least(_FIRST_WITH_CHECK) else None
        for plugin in reversed(self._plugins):
            self._run("DEL", plugin, attachment, result)
        self._cache.remove(attachment)

    def status(self) -> None:
        """Ask each plugin whether it can serve an ADD; nothing before 1.1.0. Raise PluginFailed."""
        if self._at_least(_FIRST_WITH_GC):
            for plugin in self._plugins:
                self._call(plugin, {"CNI_COMMAND": "STATUS", "CNI_PATH": self._path}, {})

    def collect(self, valid: Iterable[Attachment]) -> list[Attachment]:
        """Delete cached attachments that are not ``valid``, then have each plugin collect garbage.

        That is libcni's order. Return what was deleted. Later plugins are called even if one fails;
        raise the first PluginFailed at the end.
        """
        kept = list(valid)
        keys = [each.key for each in kept]
        stale = [each for each in self._cache.attachments() if each.key not in keys]
        failures: list[PluginFailed] = []
        for attachment in stale:
            try:
                self.delete(attachment)
            except PluginFailed as error:
                failures.append(error)
        if self._at_least(_FIRST_WITH_GC) and not self._network.get("disableGC"):
            for plugin in self._plugins:
                environment = {"CNI_COMMAND": "GC", "CNI_PATH": self._path}
                try:
                    self._call(plugin, environment, {VALID: keys})
                except PluginFailed as error:
                    failures.append(error)
        if failures:
            raise failures[0]
        return stale

    def cached(self) -> list[Attachment]:
        """Return the attachments that have a result."""
        return self._cache.attachments()

    def _at_least(self, version: tuple[int, ...]) -> bool:
        return tuple(map(int, self._network["cniVersion"].split("."))) >= version

    def _run(
        self, verb: str, plugin: Json, attachment: Attachment, previous: Json | None
    ) -> Json | None:
        extra = {"prevResult": previous} if previous is not None else {}
        return self._call(plugin, attachment.environment(verb, self._path), extra) or None

    def _call(self, plugin: Json, environment: Mapping[str, str], extra: Json) -> Json:
        """Run a plugin and return its answer, {} if it prints nothing. Raise PluginFailed."""
        derived = {key: value for key, value in plugin.items() if key not in _DERIVED}
        derived |= {"cniVersion": self._network["cniVersion"], "name": self._network["name"]}
        done = subprocess.run(
            [self._executable(plugin["type"])],
            input=json.dumps(derived | extra).encode(),
            capture_output=True,
            env=dict(environment),
            check=False,
            timeout=150,
        )
        try:
            answer: Json = json.loads(done.stdout or b"{}")
        except ValueError:
            answer = {"code": 0, "msg": f"no JSON: {done.stdout!r}"}
        if done.returncode:
            raise PluginFailed(plugin["type"], answer)
        return answer

    def _executable(self, kind: str) -> Path:
        for directory in self._path.split(":"):
            if os.access(found := Path(directory, kind), os.X_OK):
                return found
        raise Refused(f"no plugin {kind} in {self._path}")


def main(words: list[str]) -> int:
    """Carry out one verb and print what it returned. Return 1 with the error object, else 0."""
    parser = argparse.ArgumentParser(prog="cni_runtime")
    parser.add_argument("verb", choices=("add", "check", "delete", "gc", "status", "version"))
    parser.add_argument("--list", type=Path, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--attachment", action="append", default=[], metavar="CONTAINER,NETNS,ARGS")
    args = parser.parse_args(words)
    runtime = Runtime(json.loads(args.list.read_text()), args.path, args.cache)
    attachments = [_attachment(text) for text in args.attachment]
    try:
        print(json.dumps({"result": _carry_out(runtime, args.verb, attachments)}))
    except (PluginFailed, Refused) as error:
        shown = error.error if isinstance(error, PluginFailed) else {"refused": str(error)}
        print(json.dumps({"error": shown}))
        return 1
    return 0


def _attachment(text: str) -> Attachment:
    container, netns, args = text.split(",", 2)
    return Attachment(container, netns, args=args)


def _carry_out(runtime: Runtime, verb: str, attachments: list[Attachment]) -> object:
    match verb:
        case "gc":
            return [each.container for each in runtime.collect(attachments)]
        case "status" | "version":
            return getattr(runtime, verb)()
        case _:
            return [getattr(runtime, verb)(each) for each in attachments]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
