"""The five networks and their first weights."""
