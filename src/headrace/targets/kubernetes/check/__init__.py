"""`headrace check`: schemas, CRD rules and what neither of them can see, on any manifests."""
