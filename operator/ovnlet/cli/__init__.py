"""The commands for people. They ask the running agent or examine the node themselves."""
