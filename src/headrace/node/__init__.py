"""The node agent: starts, watches and drains the replicas of one machine."""
