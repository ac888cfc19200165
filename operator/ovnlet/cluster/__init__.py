"""The commands for a whole cluster, `kubectl ovnlet` and `ovnlet cluster`.

They run on a person's machine and reach each agent by the API server's exec alone, with the rights
of manifests/tools. Needs the extra `ovnlet[cli]`; an agent's image does not have it.
"""
