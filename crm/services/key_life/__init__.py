"""The life of the keys: how each kind is rotated and ended, and what is where. Asked by commands, never by a client.

Every operation is found again from what is stored, so whoever runs it next goes on where the last one was killed.
"""
