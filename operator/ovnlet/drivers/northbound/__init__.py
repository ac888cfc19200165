"""OVN's northbound database, which only the controller reads and writes."""
