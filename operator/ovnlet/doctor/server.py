"""Examines the API server: whether it answers, knows us, and grants the rights we need."""

import asyncio

from ovnlet.core.settings import Settings
from ovnlet.doctor.findings import Finding, fault, ok
from ovnlet.kube.session import Access, ApiFault, BadCredentials, call

# Verb and resource of all of the agent's requests; manifests/base/rbac.yaml grants them.
NEEDED = (
    ("list", "pods"),
    ("watch", "pods"),
    ("list", "nodes"),
    ("watch", "nodes"),
    ("patch", "nodes/status"),
    ("list", "subnets.kubeovn.io"),
    ("watch", "subnets.kubeovn.io"),
    ("list", "services"),
    ("watch", "services"),
    ("create", "events"),
    ("patch", "events"),
)
_REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_REACH = (
    "is the API server up, and does a route, or kube-proxy for its Service, lead there? "
    "See KUBERNETES_SERVICE_HOST"
)


async def examine(settings: Settings) -> list[Finding]:
    """Ask the API server whether we have every right that the agent needs.

    Sends one SelfSubjectAccessReview per right, all at the same time. The one finding is the first
    obstacle, or that there is none.
    """
    try:
        access = Access(settings.kubeconfig, server=settings.api_server)
    except BadCredentials as error:
        return [
            fault("API", str(error), "give --kubeconfig, or run in a pod with a service account")
        ]
    try:
        async with access.session() as http:
            reviews = [_review(verb, resource) for verb, resource in NEEDED]
            answers = await asyncio.gather(
                *(
                    call(http, "POST", f"{access.server}{_REVIEW}", json=review)
                    for review in reviews
                )
            )
    except ApiFault as error:
        if error.status == 401:
            return [
                fault(
                    "API",
                    str(error),
                    "the token is not valid: restart the pod, or renew the kubeconfig",
                )
            ]
        return [fault("API", str(error), _REACH)]
    denied = [
        f"{v} {r}"
        for (v, r), answer in zip(NEEDED, answers, strict=True)
        if not answer["status"].get("allowed")
    ]
    if denied:
        fix = "kubectl apply -k the manifests again: rbac.yaml grants these rights"
        return [fault("API", f"{access.server} does not allow us to {', '.join(denied)}", fix)]
    return [ok("API", f"{access.server} answers and grants what is needed")]


def _review(verb: str, resource: str) -> dict[str, object]:
    """Return the review of a verb on ``name[.group][/subresource]``."""
    full_name, _, subresource = resource.partition("/")
    name, _, group = full_name.partition(".")
    attributes = {
        "verb": verb,
        "resource": name,
        "subresource": subresource,
        "group": group,
        "version": "v1",
    }
    kind = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
    return {**kind, "spec": {"resourceAttributes": attributes}}
