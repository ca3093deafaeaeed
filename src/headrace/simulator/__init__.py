"""A fleet in virtual time: arrivals, gateways, replicas, faults. Pure and seeded."""
