"""What a restart cost a flow, as the proof of restarts reads it from ping's output."""

from proofs.kernel.outage import losses

HEAD = "PING 10.16.0.3 (10.16.0.3) 56(84) bytes of data.\n"


def output(*replies: tuple[int, float], sent: int) -> str:
    lines = [
        f"[{at:.6f}] 64 bytes from 10.16.0.3: icmp_seq={n} ttl=64 time=1 ms" for n, at in replies
    ]
    tail = f"\n--- 10.16.0.3 ping statistics ---\n{sent} packets transmitted, 9 received, 0% loss\n"
    return HEAD + "\n".join(lines) + "\n" + tail


def test_nothing_is_lost_between_consecutive_replies() -> None:
    found = losses(output((1, 100.0), (2, 100.02), (3, 100.05), sent=4), None)
    times = {"gap_ms": 0.0, "pause_ms": 30.0}
    assert found == {"sent": 4, "lost": 0, "lost_away": 0, **times}


def test_lost_packets_are_counted_in_the_window_in_which_they_were_sent() -> None:
    """Packets 3 to 7 are lost; 4 and 5 while the daemon was away."""
    text = output((1, 100.0), (2, 100.02), (8, 100.14), (9, 100.16), sent=9)
    found = losses(text, (100.055, 100.085))
    assert found == {"sent": 9, "lost": 5, "lost_away": 2, "gap_ms": 100.0, "pause_ms": 120.0}


def test_a_machine_that_stands_still_is_no_outage() -> None:
    """The sender had no processor time for 3 s, so it sent nothing that could be lost."""
    found = losses(output((1, 100.0), (2, 100.02), (3, 103.02), (5, 103.06), sent=5), None)
    assert (found["lost"], found["gap_ms"], found["pause_ms"]) == (1, 20.0, 3000.0)


def test_a_flow_without_replies_has_lost_everything() -> None:
    found = losses(output(sent=50), None)
    assert (found["sent"], found["lost"]) == (50, 50)
    assert found["gap_ms"] > 10_000
