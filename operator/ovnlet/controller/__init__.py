"""The controller of a stand-alone cluster: a queue of passes for its objects, Services included.

A pass compares one object with OVN's northbound database and corrects the difference.
"""
