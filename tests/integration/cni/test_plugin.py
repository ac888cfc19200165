"""The executable alone: what needs no agent, its linkage and size, its start time and memory."""

import json
import os
import shutil
import statistics
import subprocess
import time
from importlib import metadata
from pathlib import Path

import pytest

from integration.cni.runtime import Runtime
from ovnlet_cni.errors import SUPPORTED_VERSIONS


def test_without_a_command_it_prints_its_version(plugin: Path) -> None:
    for env in ({}, {"CNI_COMMAND": ""}):
        done = subprocess.run([plugin], env=env, capture_output=True, check=True)
        assert done.stdout == b""
        assert done.stderr.decode().splitlines() == [
            f"CNI plugin ovnlet v{metadata.version('ovnlet')}",
            "CNI protocol versions supported: 0.3.1, 0.4.0, 1.0.0, 1.1.0",
        ]


@pytest.mark.parametrize("stdin", [b"", b'{"cniVersion":"0.4.0"}', b"\xff not JSON", b"x" * 100000])
async def test_version_needs_no_agent_and_reads_no_stdin(runtime: Runtime, stdin: bytes) -> None:
    outcome = await runtime.call("VERSION", stdin, {"CNI_COMMAND": "VERSION"})
    assert outcome.exit_code == 0
    assert outcome.body == {"cniVersion": "1.1.0", "supportedVersions": list(SUPPORTED_VERSIONS)}


def test_it_is_static_and_small(plugin: Path) -> None:
    assert b"ld-linux" not in plugin.read_bytes()
    assert b"ld-musl" not in plugin.read_bytes()
    assert plugin.stat().st_size < 1 << 20
    done = subprocess.run(["ldd", plugin], capture_output=True, text=True, check=False)
    assert "not a dynamic executable" in done.stdout + done.stderr


def test_it_starts_within_a_millisecond_of_an_empty_program(plugin: Path, tmp_path: Path) -> None:
    empty, source = tmp_path / "empty", tmp_path / "empty.c"
    source.write_text("int main(void) { return 0; }\n")
    subprocess.run(
        [shutil.which("musl-gcc") or "gcc", "-Os", "-static", "-s", "-o", empty, source], check=True
    )

    def start(program: Path) -> float:
        begun = time.perf_counter()
        pid = os.posix_spawn(
            program, [str(program)], {"CNI_COMMAND": "VERSION"}, file_actions=silence
        )
        os.waitpid(pid, 0)
        return (time.perf_counter() - begun) * 1000

    silence = [(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)]
    pairs = [(start(plugin), start(empty)) for _ in range(200)]
    ours, floor = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"plugin start {ours:.3f} ms, an empty static program {floor:.3f} ms")
    assert ours - floor < 1


def test_its_memory_stays_small(plugin: Path, tmp_path: Path) -> None:
    config = json.dumps(
        {"server_socket": str(tmp_path / "none.sock"), "padding": '"' * ((1 << 19) - 500)}
    ).encode()
    with subprocess.Popen([plugin], env={"CNI_COMMAND": "ADD"}, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(config)
        process.stdin.close()
        time.sleep(0.2)  # now it waits for its agent, with the whole request in memory
        status = Path(f"/proc/{process.pid}/status").read_text()
        process.kill()
    kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    print(f"plugin: at most {kib} KiB resident with 1 MiB of stdin")
    assert 1024 < kib < 10 << 10
