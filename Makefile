# Every target sets up first; a set-up that is up to date takes no time. `make help` lists the targets.
.DEFAULT_GOAL := help
.PHONY: help setup demo test check format lock bench compare

PYTHON := .venv/bin/python

help: ## Show the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## Make .venv with everything, from the locked requirements
	@tools/setup

demo: setup ## Deploy the examples to an embedded control plane, twice, and read them back
	@tools/demo

test: setup ## All checks: linters, types, locks, tests
	@tools/check

format: setup ## Format the code
	@.venv/bin/ruff check --fix --quiet . ; .venv/bin/ruff format --quiet .

lock: setup ## Resolve the requirements anew
	@tools/lock

bench: setup ## Measure against `flyte deploy`; ONLY="help chain" for some
	@$(PYTHON) -m bench.run $(ONLY)

compare: setup ## Deploy PROJECT with both deployers and compare; ARGS="--recursive ."
	@$(PYTHON) -m tests.same_meaning $(PROJECT) $(ARGS)
