"""A release is made of its commit alone, is signed as a whole, and installs from its files."""

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from integration.testbed.test_release_version import git
from testbed import cache, dockerfile, layers, oci
from testbed.release import __main__ as command
from testbed.release import building, parts, version

ROOT = Path(__file__).parents[3]
VERSION = "9.8.7"
WORKLOADS = ("DaemonSet", "Deployment")


@dataclass(frozen=True, slots=True)
class Built:
    """A release that was built: its repository, its files, and the public key."""

    repository: Path
    out: Path
    key: Path

    def one(self, pattern: str) -> Path:
        (path,) = self.out.glob(pattern)
        return path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build this checkout's files as the version of a tag, signed with a throw-away key."""
    home = tmp_path_factory.mktemp("release")
    repository, key = home / "repository", home / "minisign"
    words: list[str | Path] = [
        "git",
        "-C",
        ROOT,
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]
    listed = subprocess.run(words, check=True, capture_output=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_symlink() or (ROOT / name).is_file():
            (repository / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, repository / name, follow_symlinks=False)
    git(repository, "init", "-q")
    git(repository, "add", "--all")
    git(repository, "commit", "-qm", "all")
    git(repository, "tag", f"v{VERSION}")
    words = ["minisign", "-G", "-W", "-s", key, "-p", f"{key}.pub"]
    subprocess.run(words, check=True, capture_output=True)
    building.build(repository, home / "dist", key)
    return Built(repository, home / "dist", Path(f"{key}.pub"))


def verified(built: Built, out: Path) -> bool:
    """Return whether signature and checksums hold, as docs/how-to/install.md verifies them."""
    words: list[str | Path] = ["minisign", "-V", "-q", "-p", built.key, "-m", out / parts.CHECKSUMS]
    sums = ["sha256sum", "--check", "--quiet", "--strict", parts.CHECKSUMS]
    done = [
        subprocess.run(each, cwd=out, capture_output=True, check=False) for each in (words, sums)
    ]
    return not any(each.returncode for each in done)


def test_all_files_are_there_and_the_signature_covers_each(built: Built, tmp_path: Path) -> None:
    names = {path.name for path in built.out.iterdir()}
    assert names == {
        f"ovnlet-{VERSION}-py3-none-any.whl",
        f"ovnlet-{VERSION}.tar.gz",
        f"ovnlet-{VERSION}-{oci.architecture()}.oci.tar",
        f"ovnlet-{VERSION}-{oci.architecture()}.cdx.json",
        f"ovnlet-{VERSION}.tgz",
        parts.CHECKSUMS,
        parts.SIGNATURE,
    }
    assert verified(built, built.out)
    for number, name in enumerate(sorted(names - {parts.SIGNATURE})):
        changed = tmp_path / str(number)
        changed.mkdir()
        for path in built.out.iterdir():
            (changed / path.name).symlink_to(path)
        (changed / name).unlink()
        (changed / name).write_bytes(b"changed\n")
        assert not verified(built, changed), name


def test_a_key_that_needs_a_password_is_refused_at_once(built: Built, tmp_path: Path) -> None:
    """minisign asks a terminal for it; here it must not wait."""
    (tmp_path / parts.CHECKSUMS).touch()
    (tmp_path / "key").write_text("untrusted comment: none\nnone\n")
    with pytest.raises(SystemExit, match="minisign"):
        parts.sign(tmp_path, tmp_path / "key", version.of(built.repository))


def test_a_directory_with_other_files_is_left_alone(built: Built, tmp_path: Path) -> None:
    (tmp_path / "thesis.odt").touch()
    with pytest.raises(SystemExit, match=r"thesis\.odt"):
        building.build(built.repository, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.odt"]


def test_the_image_says_what_it_is(built: Built, tmp_path: Path) -> None:
    archive = built.one("*.oci.tar")
    config = _config(archive)
    commit = subprocess.run(
        ["git", "-C", built.repository, "rev-parse", "HEAD"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    said = {
        name.removeprefix(f"{parts.LABEL}."): text
        for name, text in config["config"]["Labels"].items()
    }
    assert (said["version"], said["revision"], said["licenses"]) == (VERSION, commit, "Apache-2.0")
    assert config["created"] == said["created"]
    root = dockerfile.unpack(archive, tmp_path)
    shown = subprocess.run([root / layers.PLUGIN], env={}, capture_output=True, check=True).stderr
    assert shown.splitlines()[0] == f"CNI plugin ovnlet v{VERSION}".encode()
    (metadata,) = root.rglob(f"ovnlet-{VERSION}.dist-info/METADATA")
    assert f"\nVersion: {VERSION}\n" in metadata.read_text()


def _config(archive: Path) -> dict[str, Any]:
    with tarfile.open(archive) as tar:

        def blob(name: str) -> dict[str, Any]:
            file = tar.extractfile(name)
            assert file is not None
            return dict(json.load(file))

        digest = oci.manifest_digest(archive)
        digest = blob(f"blobs/{digest.replace(':', '/')}")["config"]["digest"]
        return blob(f"blobs/{digest.replace(':', '/')}")


def test_a_second_build_elsewhere_makes_the_same_files(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian's root and the dependencies come from the cache; `TWICE=1` makes them again too."""
    made = cache.root() / layers.CACHE
    other = tmp_path / "cache" / layers.CACHE
    other.mkdir(parents=True)
    for kind in ("base", "dependencies", "tools"):
        for path in made.glob(f"{kind}-*"):
            (other / path.name).symlink_to(path)
    monkeypatch.setenv("OVNLET_CACHE", str(tmp_path / "cache"))
    shutil.copytree(built.repository, tmp_path / "elsewhere", symlinks=True)
    building.build(tmp_path / "elsewhere", tmp_path / "dist")
    assert list(other.glob("ovnlet-*.tar")), "the image was built again"
    first = (built.out / parts.CHECKSUMS).read_text()
    assert (tmp_path / "dist" / parts.CHECKSUMS).read_text() == first


def test_the_bill_of_materials_names_what_is_in_the_image(built: Built, tmp_path: Path) -> None:
    text = built.one("*.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bom = json.loads(text)
    assert bom["metadata"]["component"]["version"] == VERSION
    assert oci.manifest_digest(built.one("*.oci.tar")).removeprefix("sha256:") in text
    names = {each["name"].lower().replace("_", "-") for each in bom["components"]}
    wanted = layers.Project(ROOT).table()["project"]["dependencies"]
    assert {name.partition(">")[0] for name in wanted} | {"python3", "ca-certificates"} <= names
    plugin = dockerfile.unpack(built.one("*.oci.tar"), tmp_path) / layers.PLUGIN
    (said,) = [each for each in bom["components"] if each["name"] == "ovnlet-cni-plugin"]
    assert said["hashes"][0]["content"] == hashlib.sha256(plugin.read_bytes()).hexdigest()


def test_the_charts_package_stands_alone_and_names_the_image(built: Built) -> None:
    package = built.one("*.tgz")
    with tarfile.open(package) as tar:
        assert all(member.isfile() for member in tar)
    with helm.Chart.load(str(package)) as chart:
        texts = chart.render({"mode": "standalone"}, name="ovnlet", namespace="ovnlet-system")
    files = [text for name, text in texts.items() if name.endswith(".yaml")]
    bodies = [body for text in files for body in yaml.safe_load_all(text) if body]
    pods = [body["spec"]["template"]["spec"] for body in bodies if body["kind"] in WORKLOADS]
    assert [each["containers"][0]["image"] for each in pods] == [f"localhost/ovnlet:{VERSION}"] * 2


def test_the_wheel_installs_in_an_empty_directory_and_the_sdist_makes_it(
    built: Built, tmp_path: Path
) -> None:
    environment = {key: text for key, text in os.environ.items() if key != "PYTHONPATH"}
    wheel = built.one("*.whl")
    subprocess.run([layers.PYTHON, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv/bin/python"
    subprocess.run([python, "-m", "pip", "install", "-q", wheel], check=True, env=environment)
    words: list[str | Path] = [tmp_path / "venv/bin/ovnlet", "--version"]
    shown = subprocess.run(words, check=True, capture_output=True, text=True, env=environment)
    assert shown.stdout.split()[-1] == VERSION
    with tarfile.open(built.one("*.tar.gz")) as tar:
        tar.extractall(tmp_path, filter="data")
    source, tools = tmp_path / f"ovnlet-{VERSION}", layers.tools(layers.Project(ROOT).table())
    build: list[str | Path] = [
        tools,
        "-I",
        "-m",
        "hatchling",
        "build",
        "-t",
        "wheel",
        "-d",
        tmp_path / "again",
    ]
    subprocess.run(build, check=True, cwd=source, capture_output=True)
    assert (tmp_path / "again" / wheel.name).read_bytes() == wheel.read_bytes()


def test_images_of_several_architectures_become_one(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_text("arm64")
    monkeypatch.setattr(oci, "architecture", lambda: "arm64")
    layer = oci.pack(tree, tmp_path / "layer")
    oci.write(tmp_path / "other", "localhost/ovnlet:x", [layer], oci.Config())
    monkeypatch.undo()
    here, joined = built.one("*.oci.tar"), tmp_path / "joined"
    words = ["join", str(joined), str(here), str(tmp_path / "other"), "--name=localhost/ovnlet:9"]
    command.main(words)
    with tarfile.open(joined) as tar:
        names = tar.getnames()
        assert len(names) == len(set(names))
        tar.extractall(tmp_path / "layout", filter="data")
    (entry,) = json.loads((tmp_path / "layout/index.json").read_text())["manifests"]
    assert entry["annotations"]["io.containerd.image.name"] == "localhost/ovnlet:9"
    index = json.loads((tmp_path / "layout" / _place(entry)).read_text())
    found = [each["platform"]["architecture"] for each in index["manifests"]]
    assert found == [oci.architecture(), "arm64"]
    for each in index["manifests"]:
        manifest = json.loads((tmp_path / "layout" / _place(each)).read_text())
        for part in (manifest["config"], *manifest["layers"]):
            assert oci.digest_of(tmp_path / "layout" / _place(part)) == part["digest"]
    with pytest.raises(SystemExit, match="two images of one architecture"):
        oci.join([here, here], tmp_path / "twice", "localhost/ovnlet:9")


def _place(descriptor: dict[str, Any]) -> str:
    return f"blobs/{descriptor['digest'].replace(':', '/')}"
