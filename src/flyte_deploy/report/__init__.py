"""What people see of a run: text, and JSON for programs. Pure functions from plans and deployments."""
