"""What a container runtime sees: requests, results, error codes, the server and the installer.

Nothing here may import ``ovnlet``: the agent implements the Protocol that ``server`` defines.
"""
