"""Where fleets run; the state that every target reports."""
