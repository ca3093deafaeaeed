"""Fleets on this machine."""
