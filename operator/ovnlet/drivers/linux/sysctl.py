"""Read and write kernel settings of the calling thread's network namespace, as files.

``directory`` is where the node's /proc/sys/net is mounted: in an unprivileged container, /proc/sys
itself is read-only. The network namespace of the thread that opens a file decides which namespace's
setting the file shows.
"""

from errno import errorcode

from ovnlet.core.errors import NodeFault


def read(directory: str, name: str) -> str | None:
    """Return the value with single spaces between its words, or None if there is no such setting.

    ``name`` is a path below ``directory``, such as ``ipv4/ip_forward``.
    """
    try:
        with open(f"{directory}/{name}", "rb", buffering=0) as file:
            return b" ".join(file.read().split()).decode("ascii")
    except FileNotFoundError:
        return None


def write(directory: str, name: str, value: str) -> None:
    """Set the setting. Raise NodeFault if there is no such setting or the kernel refuses it."""
    try:
        with open(f"{directory}/{name}", "r+b", buffering=0) as file:
            file.write(value.encode("ascii"))
    except FileNotFoundError as error:
        raise NodeFault(
            f"the kernel has no setting {directory}/{name} (IPv6 is off, or there is no such link)"
        ) from error
    except OSError as error:
        name_of = errorcode.get(error.errno or 0, "")
        raise NodeFault(
            f"cannot set {directory}/{name} to {value}: {name_of} {error.strerror}"
        ) from error
