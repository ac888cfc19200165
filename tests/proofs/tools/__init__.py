"""`make tools-e2e`: `kubectl ovnlet` on two nodes with 20 pods, each verb: build/tools.json."""
