"""The load generator: workloads, schedules, clients, records, metrics, validity."""
