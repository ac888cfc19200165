"""`make drift`: break a running node with foreign tools, and time the repairs with a foreign
observer.
"""
