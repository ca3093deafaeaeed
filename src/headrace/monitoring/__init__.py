"""What to watch a fleet by: one list of metrics, and the alerts and dashboards made from it."""
