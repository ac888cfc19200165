"""kube-apiserver, kubelet and the like: from KUBEBUILDER_ASSETS, from the cache, or built once.

The build takes Debian bookworm's source package (later ones have only kubectl) and bookworm's Go.
The source's reflect2 is older than Go 1.18, which changed how a map iterator is passed. Without the
patch the API server crashes as it writes the maps of a custom resource's definition, or of a few
hundred pods. Nothing is installed.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from testbed import cache, progress
from testbed.apt import Archive

VERSION = "1.20.2"
SUITE = "bookworm"
GO_PACKAGES = ["golang-1.19-go", "golang-1.19-src"]
GO_ROOT = "usr/lib/go-1.19"
PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubelet")
PROJECT = "k8s.io/kubernetes"
VERSION_FACTS = {
    "gitVersion": f"v{VERSION}",
    "gitMajor": "1",
    "gitMinor": "20",
    "gitTreeState": "archive",
}
VERSION_PACKAGES = ("component-base/version", "client-go/pkg/version")
LINK = " ".join(
    ["-s -w"]
    + [
        f"-X {PROJECT}/vendor/k8s.io/{p}.{k}={v}"
        for p in VERSION_PACKAGES
        for k, v in VERSION_FACTS.items()
    ]
)
# The one generated file that the source package lacks, and the packages that it describes in
# addition to the marked ones.
OPENAPI = "pkg/generated/openapi"
OPENAPI_MARK = re.compile(rb"^//\s*\+k8s:openapi-gen=true", re.MULTILINE)
OPENAPI_EXTRA = tuple(
    f"vendor/k8s.io/apimachinery/pkg/{part}"
    for part in ("api/resource", "util/intstr", "runtime", "version")
)
OPENAPI_NOT = ("pkg/apis/abac",)
REFLECT2 = "vendor/github.com/modern-go/reflect2"
ITERATOR = """type hiter struct {
	key, value, t, h, buckets, bptr unsafe.Pointer
	overflow, oldoverflow           *[]unsafe.Pointer
	startBucket                     uintptr
	offset                          uint8
	wrapped                         bool
	b, i                            uint8
	bucket, checkBucket             uintptr
	room                            [4]uintptr
}

func iterate(rtype unsafe.Pointer, m unsafe.Pointer) *hiter {
	it := new(hiter)
	mapiterinit(rtype, m, it)
	return it
}
"""
# A file, a pattern that is in it exactly once, and its replacement.
PATCHES = (
    ("unsafe_link.go", r"type hiter struct \{.*?\n\}\n", ITERATOR),
    (
        "unsafe_link.go",
        r"(func mapiterinit\(rtype unsafe.Pointer, m unsafe.Pointer)\) \(?(?:val )?\*hiter\)?",
        r"\1, it *hiter)",
    ),
    ("unsafe_map.go", r"mapiterinit\(type2\.rtype, ", "iterate(type2.rtype, "),
)
_PATCH_TEXTS = [part for patch in PATCHES for part in patch]
RECIPE = [
    VERSION,
    SUITE,
    GO_ROOT,
    LINK,
    *GO_PACKAGES,
    *PROGRAMS,
    *OPENAPI_EXTRA,
    *OPENAPI_NOT,
    *_PATCH_TEXTS,
]


def assets() -> Path:
    """Return the directory with the five programs; build them now if there is none.

    SystemExit if the build fails.
    """
    given = os.environ.get("KUBEBUILDER_ASSETS")
    if given and _complete(Path(given)):
        return Path(given)
    if given:
        progress.say(f"  KUBEBUILDER_ASSETS={given} lacks some of {', '.join(PROGRAMS)}: not used")
    folder = cache.subdirectory("kubernetes")
    built = folder / f"{VERSION}-{cache.digest(RECIPE)}"
    if not _complete(built):
        with cache.locked(folder):
            if not _complete(built):
                _build(folder, built)
    return built


def _complete(directory: Path) -> bool:
    return all(os.access(directory / program, os.X_OK) for program in PROGRAMS)


def _build(folder: Path, built: Path) -> None:
    progress.say(f"Kubernetes {VERSION}: built once from Debian's source, several minutes")
    with cache.scratch(folder) as scratch:
        source, env = _fetch(scratch)
        with progress.step("generate the OpenAPI definitions"):
            _generate(source, env)
        _compile(source, env, scratch / "bin")
        (scratch / "bin").rename(built)


def _fetch(scratch: Path) -> tuple[Path, dict[str, str]]:
    """Return the source in a GOPATH, and the environment in which to build it."""
    with progress.step("fetch the source and the Go tool chain"):
        (scratch / "apt").mkdir()
        archive = Archive(scratch / "apt", SUITE)
        description = archive.source("kubernetes")
        archive.unpack(GO_PACKAGES, scratch / "go")
    with progress.step("unpack the source"):
        source = scratch / "gopath/src" / PROJECT
        source.parent.mkdir(parents=True)
        progress.run(["dpkg-source", "--no-check", "-x", description, source])
        _patch(source / REFLECT2)
    go_root = scratch / "go" / GO_ROOT
    return source, os.environ | {
        "GOROOT": str(go_root),
        "GOPATH": str(scratch / "gopath"),
        "GOCACHE": str(scratch / "gocache"),
        "GOTMPDIR": str(scratch),
        "GO111MODULE": "off",
        "CGO_ENABLED": "0",
        "PATH": f"{go_root}/bin:{os.environ['PATH']}",
    }


def _patch(reflect2: Path) -> None:
    for name, found, instead in PATCHES:
        text, count = re.subn(found, instead, (reflect2 / name).read_text(), flags=re.DOTALL)
        if count != 1:
            raise SystemExit(f"reflect2/{name} is not the version that the build patches: {found}")
        (reflect2 / name).write_text(text)


def _generate(source: Path, env: dict[str, str]) -> None:
    generator = source / "_openapi-gen"
    progress.run(
        ["go", "build", "-o", generator, "./vendor/k8s.io/kube-openapi/cmd/openapi-gen"],
        cwd=source,
        env=env,
    )
    marked = {f"{PROJECT}/{path}" for path in [*_marked(source), *OPENAPI_EXTRA]}
    header = source / "_header.txt"
    header.touch()
    options = {
        "--go-header-file": header,
        "--input-dirs": ",".join(sorted(marked)),
        "--output-base": source.parents[1],
        "--output-package": f"{PROJECT}/{OPENAPI}",
        "--output-file-base": "zz_generated.openapi",
        "--report-filename": source / "_violations",
    }
    progress.run(
        [generator, *(f"{key}={value}" for key, value in options.items())], cwd=source, env=env
    )


def _marked(source: Path) -> set[str]:
    """Return the packages that ask for OpenAPI definitions, by their paths through vendor/."""
    files = (path for top in ("pkg", "staging/src/k8s.io") for path in (source / top).rglob("*.go"))
    marked = {
        str(path.parent.relative_to(source))
        for path in files
        if OPENAPI_MARK.search(path.read_bytes())
    }
    return {
        path.replace("staging/src", "vendor") for path in marked if not path.startswith(OPENAPI_NOT)
    }


def _compile(source: Path, env: dict[str, str], out: Path) -> None:
    out.mkdir()
    commands = [f"./cmd/{program}" for program in PROGRAMS]
    total = len(progress.run(["go", "list", "-deps", *commands], cwd=source, env=env).split())
    done = 0
    with progress.step("compile") as step:

        def count(_: str) -> None:
            nonlocal done
            done += 1
            step.note(f"{done} of {total} packages")

        build = ["go", "build", "-v", "-ldflags", LINK, "-o", f"{out}/"]
        progress.run([*build, *commands], cwd=source, env=env, on_line=count)


if __name__ == "__main__":
    print(assets())
