"""The API server's side of the agent: pods in, Events out. It may be away for as long as it likes.

How the agent starts it, each ``run()`` a task that is stopped by cancelling it::

    access = Access(settings.kubeconfig)  # raises BadCredentials: refuse to start
    pods = Pods(state, settings.node_name)
    listing = Relist(access, pods)
    guest = KopfRunner(access, settings.node_name, [pods], listing.request)
    recorder = Recorder(access, settings.node_name)
"""
