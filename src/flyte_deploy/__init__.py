"""flyte-deploy: takes a Flyte 2 project from a commit to registered, runnable tasks."""
