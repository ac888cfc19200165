"""Delete links of the node, in a burst many at once.

Deleting one veth pair blocks for some 18 ms, nearly all of which the kernel waits for RCU grace
periods, most of them with the lock that all changes of links need. A hundred one by one take two
seconds, by six threads 0.75 s. As members of one group (IFLA_GROUP) they share the waits: 80 ms.
"""

import asyncio
import random

from ovnlet.drivers.linux.rtnetlink import delete_group, delete_link, join_group
from ovnlet.drivers.linux.transport import Refused, Socket

# Deletions at once, each of one link or of all that came meanwhile.
_AT_ONCE = 2


class LinkRemoval:
    """A queue of links to delete. What comes while deletions are under way is deleted together."""

    def __init__(self) -> None:
        self._waiting: list[tuple[str, asyncio.Future[Refused | None]]] = []
        self._running: set[asyncio.Task[None]] = set()

    async def delete(self, name: str) -> Refused | None:
        """Delete a link of the node by its name. Return the kernel's refusal, None if it is gone.

        Raise OSError without a socket.
        """
        end: asyncio.Future[Refused | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((name, end))
        if len(self._running) < _AT_ONCE:
            task = asyncio.create_task(self._drain(), name="links are deleted")
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return await end

    async def _drain(self) -> None:
        """Delete what waits, until nothing does."""
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                # Opened here: the thread may be new, and in the namespace of another one.
                host, names = Socket(), [name for name, _ in batch]
                ends = await asyncio.to_thread(_delete, host, names)
            except Exception as error:  # noqa: BLE001 - it is raised to those who wait
                for _, end in batch:
                    if not end.done():
                        end.set_exception(error)
                continue
            for (_, end), refusal in zip(batch, ends, strict=True):
                if not end.done():
                    end.set_result(refusal)


def _delete(host: Socket, names: list[str]) -> list[Refused | None]:
    """Delete links and close the socket; return what each was refused for. This blocks."""
    with host:
        if len(names) == 1:
            return _one_by_one(host, names)
        # A number that no other link has, of anybody: 0 is the group of all that never got one.
        group = random.randrange(1 << 30, 1 << 31)  # noqa: S311 - not a secret
        answers = host.ask(*(join_group(name, group) for name in names))
        if all(answer.error for answer in answers):
            return [answer.error for answer in answers]
        (deleted,) = host.ask(delete_group(group))
        if deleted.error is None:
            return [answer.error for answer in answers]
        return _one_by_one(host, names)


def _one_by_one(host: Socket, names: list[str]) -> list[Refused | None]:
    return [host.ask(delete_link(name))[0].error for name in names]
