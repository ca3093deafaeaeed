"""A fleet on a real cluster: applied, watched and removed through the API."""
