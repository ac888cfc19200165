"""The files that the agent keeps: attachment records, small JSON files, the CNI files."""
