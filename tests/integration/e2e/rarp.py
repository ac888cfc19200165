"""A program: send what a virtual machine sends when it runs on another node. `DEVICE`.

QEMU broadcasts a RARP request with the machine's own MAC in every address field. Print when it was
sent, in seconds since the epoch.
"""

import socket
import sys
import time

RARP = 0x8035


def frame(mac: bytes) -> bytes:
    """Return a RARP request of the MAC (RFC 903)."""
    head = b"\xff" * 6 + mac + RARP.to_bytes(2, "big")
    return head + bytes.fromhex("0001080006040003") + (mac + bytes(4)) * 2


if __name__ == "__main__":
    device = sys.argv[1]
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(RARP)) as out:
        out.bind((device, RARP))
        request = frame(out.getsockname()[4])
        at = time.time()
        out.send(request)
        print(at)
