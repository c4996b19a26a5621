"""GitHub's API: the comment of a pull request, deployments, and the state of branches and pull requests.

Nothing here may fail a deploy: what goes wrong is a `DeployError` that the caller makes a warning of.
"""
