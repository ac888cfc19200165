"""The commands for people: they ask the running agent, or look for themselves."""
