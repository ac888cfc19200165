"""The controller of a stand-alone cluster: passes for Subnets, pods and Nodes, fed by one queue.

A pass compares one object with OVN's northbound database and corrects the difference.
"""
