"""Control: state of the agents up, commands down. `service.py` holds the connections, `commands.py` the commands."""
