"""Prefect flows: thin layers over gansynth."""
