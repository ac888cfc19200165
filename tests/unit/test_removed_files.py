"""The files that an agent makes: all of them go with it, and nothing of others does."""

from pathlib import Path

from ovnlet.cli.removal import files

KEPT = ("chassis", "encap", "gateway", "node")


def test_a_removal_leaves_no_file_and_no_directory_of_ours(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    (run_dir / "sandboxes").mkdir(parents=True)
    (run_dir / "deleted").mkdir()
    made = [run_dir / f"{name}.json" for name in KEPT]
    made += [run_dir / "sandboxes" / "c0ffee.eth0.json", run_dir / "deleted" / "c0ffee.eth0"]
    for path in made:
        path.write_text("{}")
    assert sorted(files(run_dir / "cni.sock", run_dir)) == sorted(made)
    assert not run_dir.exists()


def test_a_file_of_others_stays_and_so_does_its_directory(tmp_path: Path) -> None:
    foreign = tmp_path / "kubeconfig"
    foreign.write_text("")
    assert list(files(tmp_path / "cni.sock", tmp_path)) == []
    assert foreign.exists()
