"""Files the agent keeps: attachment records and small JSON files."""
