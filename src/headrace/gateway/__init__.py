"""Envoy in front of the replicas: its configuration, endpoint file and process."""
