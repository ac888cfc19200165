"""The documentation as a program: shell blocks, what they are said to print, and a shell that runs them as they are."""
