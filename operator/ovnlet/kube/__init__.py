"""The Kubernetes API server's side of the agent and of the controller.

Stores hold the objects that matter, kopf's watches and our own LISTs fill them, and writers send
Events, patches and the Lease. Every part keeps trying for as long as the API server is away.
Nothing here touches the node or OVN, and no other package imports kopf or a Kubernetes client.

Each ``run()`` is a task that its owner stops by cancelling it::

    access = Access(settings.kubeconfig)  # raises BadCredentials: refuse to start
    store = Store(pods.of_node(settings.node_name), pods.read, changed)
    relist = Relist(access, store)
    runner = KopfRunner(access, settings.node_name, [relist])
    recorder = Recorder(access, settings.node_name)
"""
