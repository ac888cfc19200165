"""`make controller-bench`: the controller in a large cluster, in build/controller.json."""
