"""Training, from the machine to the finished run."""
