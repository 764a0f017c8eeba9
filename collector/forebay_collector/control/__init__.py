"""Control: state of the agents up, commands and offers down. `service.py` holds the connections."""
