"""What `python -m helpers` does, command by command."""
