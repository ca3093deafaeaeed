"""A fleet on Kubernetes: manifests from the plan, their rules, and the cluster's API."""
