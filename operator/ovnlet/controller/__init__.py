"""The controller of a stand-alone cluster: passes for Subnets, pods, Nodes and Services, fed by one queue.

A pass compares one object with OVN's northbound database and corrects the difference.
"""
