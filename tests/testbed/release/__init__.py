"""A release: wheel, sdist, image, chart, bill of materials, checksums and their signature.

All of it is made from one commit, and a second build of that commit makes the same files.
"""
