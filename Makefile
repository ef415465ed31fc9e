# SPDX-License-Identifier: GPL-3.0-or-later
.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := $(CURDIR)/.venv
export PATH := $(VENV)/bin:$(PATH)
# One set-up at a time: two would take the containers away from each other.
LAB = flock --close Makefile $(VENV)/bin/ansible-playbook

.PHONY: help setup lab traffic drill test benchmark lint unit integration molecule clean

help: ## Show the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: ## Make the Python environment .venv
	@tools/make_venv.sh requirements.txt requirements-dev.txt

lab: setup ## Make the running, seeded lab (LAB_SCALE multiplies its size)
	@$(LAB) playbooks/lab.yml

traffic: lab ## Log in, place orders, read: until stopped (Ctrl-C)
	@$(VENV)/bin/python lab/traffic.py

drill: lab ## Back up under traffic, lose everything, recover, prove it
	@$(VENV)/bin/python tools/drill.py

lint: setup ## Check style and types
	@tools/lint.sh

unit: setup ## Test without servers
	@$(VENV)/bin/pytest tests/unit

integration: lab ## Test on the lab's real servers
	@$(VENV)/bin/pytest tests/integration

molecule: lab ## Run every molecule scenario
	@$(VENV)/bin/pytest -m molecule tests

# The linters run beside the set-up, and tests that do not work on the one lab beside those that do.
test: setup ## All set-up and every test
	@$(MAKE) --no-print-directory --jobs=2 lint lab
	@$(VENV)/bin/pytest --numprocesses=2 --dist=loadscope --durations=40 tests

benchmark: lab ## Measure the recovery against the old procedure
	@$(VENV)/bin/python tests/benchmark.py

clean: ## Remove what was made: lab, backups, secrets, images, reports, .venv (kept: the engine, ~/.cache/platform3)
	@if [ -e lab/run ]; then $(MAKE) --no-print-directory setup && $(LAB) playbooks/lab_clean.yml; fi
	@rm -rf .venv build
