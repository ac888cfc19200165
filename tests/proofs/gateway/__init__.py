"""`make gateway`: the node as a gateway, by traffic: seen, broken by foreign tools, repaired."""
