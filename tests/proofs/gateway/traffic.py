"""Programs for a namespace: who connects is told which address the other end saw."""

from __future__ import annotations

PORT = 5151
# Sends each client the address that it sees.
LISTEN = """
import socket, sys, threading
family = socket.AF_INET6 if sys.argv[1] == "6" else socket.AF_INET
host = "::" if sys.argv[1] == "6" else "0.0.0.0"
def serve(link, peer):
    with link:
        link.sendall(peer.encode())
with socket.create_server((host, int(sys.argv[2])), family=family, backlog=64) as server:
    print("listening", flush=True)
    while True:
        link, peer = server.accept()
        threading.Thread(target=serve, args=(link, peer[0]), daemon=True).start()
"""
# Prints the address that the other end sees, or nothing. A source address may be given.
SPEAK = """
import socket, sys
own = (sys.argv[3], 0) if len(sys.argv) > 3 else None
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), 1, own) as link:
        print(link.recv(64, socket.MSG_WAITALL).decode())
except OSError:
    pass
"""
# Sends one TCP segment with the given flags, which belongs to no connection.
SEGMENT = """
import socket, struct, sys
source, target, flags = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ":" in target else socket.AF_INET
raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_TCP)
raw.bind((source, 0))
def segment(total):
    return struct.pack("!HHIIBBHHH", 4321, 4444, 7, 9, 5 << 4, flags, 1024, total, 0)
pseudo = socket.inet_pton(family, source) + socket.inet_pton(family, target)
pseudo += struct.pack("!II", 6, 20) if family == socket.AF_INET else struct.pack("!II", 20, 6)
if family == socket.AF_INET:
    pseudo = pseudo[:8] + struct.pack("!BBH", 0, 6, 20)
else:
    raw.setsockopt(socket.IPPROTO_IPV6, 7, 16)  # IPV6_CHECKSUM
total = sum(struct.unpack("!%dH" % ((len(pseudo) + 20) // 2), pseudo + segment(0)))
while total >> 16:
    total = (total & 0xFFFF) + (total >> 16)
raw.sendto(segment(~total & 0xFFFF), (target, 0))
"""
# Prints the source of the first packet to port 4444 within a second, or nothing.
SNIFF = """
import socket, struct, sys
wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
wire.bind((sys.argv[1], 0))
wire.settimeout(1)
print("ready", flush=True)
try:
    while True:
        data = wire.recv(2048)
        version = data[0] >> 4
        start, family = (40, socket.AF_INET6) if version == 6 else (20, socket.AF_INET)
        source = data[8:24] if version == 6 else data[12:16]
        if (data[6] if version == 6 else data[9]) != 6:
            continue
        if struct.unpack_from("!H", data, start + 2)[0] == 4444:
            print(socket.inet_ntop(family, source), flush=True)
            break
except OSError:
    pass
"""
# Sends a datagram as a tunnel does whose packet inside had a mark.
MARKED = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
tunnel = socket.socket(family, socket.SOCK_DGRAM)
tunnel.setsockopt(socket.SOL_SOCKET, 36, 0x4000)  # SO_MARK
tunnel.sendto(b"x", (sys.argv[1], 6081))
"""
