"""A program: answer UDP on one interface, or ask there. `serve DEVICE`, `ask DEVICE ADDRESS`."""

import socket
import sys

PORT = 7007


def _bound(device: str, family: int) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_DGRAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    return bound


def _serve(device: str) -> None:
    serving = _bound(device, socket.AF_INET6)  # dual: IPv4 comes as a mapped address
    serving.bind(("::", PORT))
    while True:
        data, sender = serving.recvfrom(64)
        serving.sendto(data, sender)


def _ask(device: str, address: str) -> int:
    asking = _bound(device, socket.AF_INET6 if ":" in address else socket.AF_INET)
    asking.settimeout(0.5)
    for number in range(5):
        asking.sendto(str(number).encode(), (address, PORT))
        try:
            if asking.recvfrom(64)[1][0] == address:
                return 0
        except TimeoutError:
            continue
    return 1


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _serve(sys.argv[2])
    sys.exit(_ask(*sys.argv[2:]))
