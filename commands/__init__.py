"""What `python server.py COMMAND` does: each command is a function here; `server.py` only reads the command line."""
