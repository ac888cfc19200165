"""Open the sandboxes of attachments, and keep each one open until the end of the pass.

To enter a namespace and to open and close a netlink socket costs as much as what is asked by it.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from ovnlet.core.identity import Attachment, AttachmentKey
from ovnlet.drivers.links.veths import Sandbox
from ovnlet.drivers.linux.namespaces import entered, opened
from ovnlet.drivers.linux.transport import Socket
from ovnlet.reconcile.interruptible import closed_with_pass

# The most that are kept, with three descriptors each: a process may have 1,024 by default.
_MOST = 64


class OpenSandboxes:
    """The sandboxes that passes have open."""

    def __init__(self) -> None:
        self._kept: dict[AttachmentKey, tuple[str, Sandbox]] = {}

    @contextmanager
    def open(self, attachment: Attachment) -> Iterator[Sandbox]:
        """Yield the sandbox, with a socket in the node's namespace and one in its own.

        In a pass it is opened once, and closed when the pass ends. Raise UnknownSandbox or
        NodeFault.
        """
        path, kept = self._kept.get(attachment.key, ("", None))
        if kept is not None and path == attachment.netns:
            yield kept
            return
        with ExitStack() as stack:
            netns = stack.enter_context(opened(attachment.netns))
            host = stack.enter_context(Socket())
            with entered(netns):
                pod = stack.enter_context(Socket())
            sandbox = Sandbox(host, pod, netns)
            closing = closed_with_pass()
            if closing is not None and kept is None and len(self._kept) < _MOST:
                self._kept[attachment.key] = attachment.netns, sandbox
                stack.callback(self._kept.pop, attachment.key)
                closing.push(stack.pop_all())
            yield sandbox
