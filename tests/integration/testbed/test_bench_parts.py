"""What the bench derives from its samples: one process for many pods, churn, and resyncs."""

import sys
import time
from collections import Counter
from itertools import count
from pathlib import Path

import pytest

from proofs.bench import churn, comparison, resyncing
from proofs.bench.implementations import FLOOR, ONE_FLOOR, all_implementations
from proofs.bench.pods import Pod
from proofs.bench.processes import Done, Job, served, shared, timed
from proofs.bench.rows import BURST, Samples

PYTHON = sys.executable


def test_the_floor_of_one_process_has_the_words_of_all_processes() -> None:
    """Both floors attach the same pods; they differ in the number of programs only."""
    every = all_implementations(Path("/plugin"), Path("/floor"))
    chosen = [(Pod(number), f"{number:064x}") for number in range(3)]
    for verb in ("add", "delete"):
        many, one = (getattr(every[name], verb)(chosen)["jobs"] for name in (FLOOR, ONE_FLOOR))
        assert len(many) == 3
        words = [word for argv, _, _ in many for word in argv[2:]]
        assert [argv for argv, _, _ in one] == [[*many[0][0][:2], *words]]


def test_each_pod_of_a_shared_program_has_the_time_at_which_it_was_served() -> None:
    done = served(Done(900, 0, "12.5\n12.75\n", cpu_ms=8), began=12.0)
    assert done == [Done(500, 0, "", cpu_ms=4), Done(750, 0, "", cpu_ms=4)]


def test_a_shared_program_prints_on_the_clock_by_which_it_is_measured() -> None:
    script = "import time\nfor _ in range(2): print(time.clock_gettime(time.CLOCK_MONOTONIC))"
    began = time.perf_counter()
    first, second = shared(Job([PYTHON, "-c", script]))
    assert 0 < first.ms <= second.ms <= (time.perf_counter() - began) * 1000


def test_a_shared_program_that_fails_is_one_failure() -> None:
    (done,) = shared(Job([PYTHON, "-c", "import sys; sys.exit('no such link')"]))
    assert done.code == 1
    assert "no such link" in done.out


def test_a_job_begins_at_its_second_although_those_before_it_still_run() -> None:
    waits = "import sys; sys.stdin.read(); import time; time.sleep(float(sys.argv[1]))"
    began = time.perf_counter()
    jobs = [(at, Job([PYTHON, "-c", waits, "1"])) for at in (0.0, 0.1, 0.2, 0.3)]
    done = timed(jobs)
    took = time.perf_counter() - began
    assert [each.code for each in done] == [0] * 4
    assert took < sum(each.ms for each in done) / 1000


def test_pods_come_and_go_and_as_many_stay() -> None:
    attached = [(Pod(number), f"old-{number}") for number in range(3)]
    named = (f"new-{number}" for number in count())
    plan = churn.Churn(attached, [Pod(number) for number in range(3, 5)])
    now = dict(attached)
    seconds, verbs = [], Counter[str]()
    for second, verb, (pod, sandbox) in plan.orders(4, named):
        seconds.append(second)
        verbs[verb] += 1
        if verb == "ADD":
            assert pod not in now
            now[pod] = sandbox
        else:
            assert now.pop(pod) == sandbox
        assert 3 <= len(now) <= 4
    assert seconds == sorted(seconds)
    assert verbs == {"ADD": 4 * churn.RATE, "DEL": 4 * churn.RATE}
    assert dict(plan.attached) == now
    assert not set(now.values()) & {sandbox for _, sandbox in attached}


def test_an_add_that_failed_counts_apart() -> None:
    found = churn.Churned()
    found.seconds, found.sizes = 2.0, [(60.0, 40), (61.0, 41), (62.0, 42)]
    orders = list(churn.Churn([(Pod(1), "a")], [Pod(2)]).orders(1 / churn.RATE, iter("bc")))
    found.add(orders, [Done(9000, 1, "OVN does not answer"), Done(20, 0, "")])
    found.add(orders, [Done(30, 0, ""), Done(40, 0, "")])
    rows = {row.name.removeprefix("churn: "): row for row in found.rows()}
    assert rows["ADD, p99"].value == 30
    assert rows["DEL, p99"].value == 40
    assert rows["ADDs and DELs that failed"].value == 1
    assert not rows["ADDs and DELs that failed"].ok
    assert rows["RSS at the end"].value - rows["RSS at the start"].value == 2
    assert rows["descriptors at the middle"].value == 41


@pytest.mark.parametrize(
    ("began", "inside"), [(9.0, False), (9.35, True), (9.9, True), (10.1, False)]
)
def test_an_add_is_in_a_resync_that_had_begun_and_not_ended(began: float, inside: bool) -> None:
    assert resyncing.in_resync(began, 0.5, 10.0) is inside


def test_a_number_of_rounds_is_that_of_each_burst() -> None:
    size = comparison.FULL.with_bursts(20)
    assert size.bursts == dict.fromkeys(comparison.FULL.bursts, 20)
    assert size.ports == comparison.FULL.ports


def test_the_two_floors_stand_side_by_side() -> None:
    samples = Samples()
    samples.add(f"{BURST} 50", ONE_FLOOR, 100, [30.0])
    samples.add(f"{BURST} 50", FLOOR, 100, [20.0])
    shown = [(row.name.partition(":")[0], row.ratio) for row in samples.rows()]
    assert shown == [(FLOOR, 1.0), (ONE_FLOOR, 1.5)]
