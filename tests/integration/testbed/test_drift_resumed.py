"""A drift run that is resumed: what it knows of the run before."""

from pathlib import Path

from proofs.drift.report import Report, Row


def trial(kind: str, seed: int) -> Row:
    return Row(kind, "event", seed, 1.0, 2.0, repaired=True, traffic_ok=True, sentinels_ok=True)


def test_further_trials_of_a_kind_need_no_second_control_run(tmp_path: Path) -> None:
    """A kind whose control has run keeps what that found; another kind still needs its own."""
    report = Report(tmp_path, 7, 3)
    report.add(trial("host veth deleted", 1))
    report.add(trial("healed by the kernel", 1))
    report.record_control({"host veth deleted": True, "healed by the kernel": False})
    report.mark_done("host veth deleted", 1)

    again = Report.resumed(tmp_path)
    again.add(trial("host veth deleted", 2))
    again.add(trial("healed by the kernel", 2))
    again.add(trial("pod MTU changed", 2))
    good = [(row.kind, row.good) for row in again.rows]
    assert good == [
        ("host veth deleted", True),
        ("healed by the kernel", False),
        ("host veth deleted", True),
        ("healed by the kernel", False),
        ("pod MTU changed", False),
    ]
