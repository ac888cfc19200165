"""OVN's northbound database, read and written by the controller alone."""
