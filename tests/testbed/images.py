"""The images of a bed, as OCI archives in the cache: `python -m testbed.images` builds them all.

Each archive is named by the hash of its inputs, so it is written again only if those change.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from testbed import cache, layers, oci, progress

PAUSE = "localhost/pause:1"
BUSYBOX = "localhost/busybox:1"
BUSYBOX_PROGRAM = Path("/usr/bin/busybox")
PATH = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
ACCOUNTS = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
}
SMALL = {
    # One process and no shell: the runtime ends a sandbox with SIGKILL, so it handles no signal.
    PAUSE: oci.Config(entrypoint=("/bin/sleep", "2147483647"), environment=PATH),
    # A pod without a command waits, and ends at once on SIGTERM.
    BUSYBOX: oci.Config(
        command=("sh", "-c", "trap 'exit 0' TERM INT; sleep 2147483647 & wait"), environment=PATH
    ),
}
AGENT = "localhost/ovnlet"
AGENT_CONFIG = oci.Config(
    entrypoint=(str(layers.PYTHON), "-P", "-m", "ovnlet"),
    environment=PATH | {"LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"},
)


def archives() -> list[Path]:
    """Return the archives of the pause image and of the test pods' busybox."""
    return [_small(reference) for reference in SMALL]


def agent_image(
    project: Path, tag: str = "", config: oci.Config = AGENT_CONFIG
) -> tuple[str, Path]:
    """Return the reference and the archive of the agent's image of this checkout.

    Without ``tag`` the reference names exactly this code.
    """
    checkout = layers.Project(project.resolve())
    plugin = _plugin(checkout)
    folder = cache.subdirectory(layers.CACHE)
    with cache.locked(folder):
        layered = [layers.base(), layers.dependencies(checkout)]
        inputs: list[str | bytes] = [
            plugin,
            tag,
            repr(config),
            *(layer.digest for layer in layered),
        ]
        for path in checkout.files():
            inputs += [str(path.relative_to(checkout.root)), path.read_bytes()]
        code = cache.digest(inputs)
        tag = tag or code
        archive = folder / f"ovnlet-{code}.tar"
        if not archive.exists():
            with progress.step("layer: code"), cache.scratch(folder) as scratch:
                layered.append(layers.code(checkout, scratch))
                oci.write(scratch / "archive", f"{AGENT}:{tag}", layered, config)
                (scratch / "archive").rename(archive)
        cache.keep_newest(folder, "ovnlet-*.tar", used=archive)
    return f"{AGENT}:{tag}", archive


def _plugin(checkout: layers.Project) -> bytes:
    """Bring the plugin's executable up to date and return its contents."""
    progress.run(["make", "--silent", "-C", checkout.plugin.parent])
    return checkout.plugin.read_bytes()


def _small(reference: str) -> Path:
    """Return the archive of a busybox image of one layer; SystemExit without a busybox here."""
    if not BUSYBOX_PROGRAM.exists():
        raise SystemExit("busybox-static is not installed: python -m testbed.packages")
    folder = cache.subdirectory(layers.CACHE)
    program = BUSYBOX_PROGRAM.read_bytes()
    name = reference.partition("/")[2].partition(":")[0]
    archive = (
        folder
        / f"{name}-{cache.digest([program, reference, repr(SMALL[reference]), repr(ACCOUNTS)])}.tar"
    )
    if not archive.exists():
        with (
            cache.locked(folder),
            progress.step(f"image: {reference}"),
            cache.scratch(folder) as scratch,
        ):
            busybox_tree(program, scratch / "tree")
            layer = oci.pack(scratch / "tree", scratch / "blob")
            oci.write(scratch / "archive", reference, [layer], SMALL[reference])
            # Another run that waited for the lock writes the same archive again.
            (scratch / "archive").rename(archive)
    cache.keep_newest(folder, f"{name}-*.tar", used=archive)
    return archive


def busybox_tree(program: bytes, tree: Path) -> None:
    """Write a root with busybox alone, and every applet under its own name."""
    for folder in ("bin", "etc", "root", "tmp", "var/www"):
        (tree / folder).mkdir(parents=True)
    (tree / "tmp").chmod(0o1777)
    for name, text in ACCOUNTS.items():
        (tree / name).write_text(text)
    busybox = tree / "bin/busybox"
    busybox.write_bytes(program)
    busybox.chmod(0o755)
    for applet in subprocess.run(
        [busybox, "--list"], check=True, capture_output=True, text=True
    ).stdout.split():
        if applet != busybox.name:
            (busybox.parent / applet).symlink_to(busybox.name)


def main() -> None:
    """Build all images and print the reference, the size and the path of each."""
    project = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2]
    began = time.monotonic()
    small = list(zip(SMALL, archives(), strict=True))
    for reference, archive in [*small, agent_image(project)]:
        print(f"{reference}  {archive.stat().st_size / 1e6:.1f} MB  {archive}")
    print(f"{time.monotonic() - began:.2f} s")


if __name__ == "__main__":
    main()
