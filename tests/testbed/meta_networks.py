"""Further networks on a bed: the kind, definitions, and the stand-in for Multus on the nodes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from testbed.bed import Bed
from testbed.meta_plugin import CONFIG, DEFAULT, NETWORKS, PLUGIN, STATE, STATUS, Json

__all__ = ["CONFIG", "DEFAULT", "NETWORKS", "STATE", "STATUS", "definition", "install", "sync"]
FIRST = "/etc/cni/net.d/01-ovnlet.conflist"
KIND_NAME = "network-attachment-definitions.k8s.cni.cncf.io"
KIND = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": KIND_NAME},
    "spec": {
        "group": "k8s.cni.cncf.io",
        "scope": "Namespaced",
        "names": {
            "plural": "network-attachment-definitions",
            "singular": "network-attachment-definition",
            "kind": "NetworkAttachmentDefinition",
            "shortNames": ["net-attach-def"],
        },
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {"config": {"type": "string"}},
                            }
                        },
                    }
                },
            }
        ],
    },
}


def install(bed: Bed, first: str = FIRST) -> None:
    """Create the kind, and put the plugin in front of the configuration of every node.

    ``first`` is the configuration of the pods' first interface.
    """
    bed.kubectl("apply", "-f", "-", stdin=json.dumps(KIND))
    bed.kubectl("wait", "--for=condition=Established", f"crd/{KIND_NAME}")
    config = {
        "cniVersion": "1.0.0",
        "name": "meta",
        "type": PLUGIN,
        "clusterNetwork": first,
        "server": bed.control_plane.url,
        "ca": str(bed.ids.ca),
        "token": bed.token,
    }
    code = Path(__file__).resolve().parents[1]
    program = f"#!/bin/sh\nPYTHONPATH={code} exec {sys.executable} -m testbed.meta_plugin\n"
    for node in bed.nodes:
        node.run(["tee", f"/opt/cni/bin/{PLUGIN}"], stdin=program)
        node.run(["chmod", "755", f"/opt/cni/bin/{PLUGIN}"])
        node.run(["tee", f"{CONFIG}.new"], stdin=json.dumps(config))
        node.run(["mv", f"{CONFIG}.new", CONFIG])


def sync(container: str) -> list[str]:
    """Return the command line that brings a container's interfaces to what its pod lists now."""
    code = Path(__file__).resolve().parents[1]
    program = (sys.executable, "-m", "testbed.meta_plugin", "sync", container)
    return ["env", f"PYTHONPATH={code}", *program]


def definition(name: str, config: Json, namespace: str = "default") -> Json:
    """Return a NetworkAttachmentDefinition with this configuration."""
    return {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"config": json.dumps({"cniVersion": "1.0.0", "name": name, **config})},
    }
