"""Questions to ask of a point by name: one file each, a Result and a registered function Point -> Result."""
