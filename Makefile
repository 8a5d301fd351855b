# Every chore has one target; `make` lists them. Needs only Python 3.11 or later, git, make and a compiler.
SHELL := /bin/bash
.DEFAULT_GOAL := help
unexport PYTHONDONTWRITEBYTECODE # compiled once, every process starts in half the time
PYTHON ?=
BIN := .venv/bin
LOCAL := $(BIN)/python -m ropewalk.local
COMPOSE := docker compose
SECRETS := $(or $(ROPEWALK_SECRETS),.ropewalk/containers)
PATHS := include plugins dags containers scripts tests bench

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  \033[1m%-13s\033[0m %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: install
install: ## set up .venv with the locked packages
	@PYTHON="$(PYTHON)" scripts/bootstrap.sh

.PHONY: up
up: install ## set everything up, start it, run flights_daily for 2013-01-01 and say where to look
	@$(LOCAL) up $(ARGS)

.PHONY: down
down: install ## stop everything
	@$(LOCAL) down

.PHONY: status
status: install ## show what runs, where, and its memory
	@$(LOCAL) status

.PHONY: logs
logs: install ## follow all logs (ARGS="collect store" for some)
	@$(LOCAL) logs $(ARGS)

.PHONY: shell
shell: install ## open a shell in which airflow, psql and ropewalk work on the running stack
	@$(LOCAL) shell

.PHONY: env
env: install ## print that shell's environment, for: eval "$(make -s env)"
	@$(LOCAL) env

.PHONY: check
check: install ## validate the workflow files
	@$(BIN)/ropewalk check dags/workflows/*.yaml

.PHONY: lint
lint: install ## ruff and mypy
	$(BIN)/ruff check $(wildcard $(PATHS))
	$(BIN)/ruff format --check $(wildcard $(PATHS))
	$(BIN)/mypy $(wildcard $(PATHS))

.PHONY: test
test: lint ## lint, then all tests; those that start a whole stack of their own come last
	$(BIN)/python -m pytest

.PHONY: images
images: ## build the images of docker-compose.yaml and print their sizes
	@$(COMPOSE) --profile '*' build --quiet
	@containers/sizes.sh

.PHONY: secrets
secrets: images ## make the passwords and keys that the containers read, where they are missing
	@mkdir -p -m 700 "$(SECRETS)"
	@$(COMPOSE) run --rm --no-deps --user "$$(id -u):$$(id -g)" secrets

.PHONY: compose-up
compose-up: secrets ## build, then start everything in containers, with the demo's sources
	@$(COMPOSE) --profile demo up --wait --no-build --quiet-pull
	@containers/where.sh

.PHONY: compose-down
compose-down: ## stop the containers; the volumes stay
	@$(COMPOSE) --profile '*' down

.PHONY: backup
backup: ## save the databases and datasets of the containers to a folder (TO=…)
	@containers/backup.sh "$(TO)"

.PHONY: restore
restore: ## put back what `make backup` saved (FROM=…)
	@containers/restore.sh "$(FROM)"

.PHONY: test-compose
test-compose: install ## bring the containers up in a project of its own, disturb them, and take all down (needs an engine)
	ROPEWALK_TEST_COMPOSE=1 $(BIN)/python -m pytest tests/compose

.PHONY: chaos
chaos: install ## break a real installation in N ways drawn from SEED, and look whether a row is lost or doubled
	$(BIN)/python -m tests.chaos --n $(or $(N),1000) --seed $(or $(SEED),1) $(ARGS)

.PHONY: chaos-airflow
chaos-airflow: install ## do RUNS whole runs under Airflow while its tasks and the stages are killed, drawn from SEED
	$(BIN)/python -m tests.chaos.airflow --runs $(or $(RUNS),25) --seed $(or $(SEED),1)

.PHONY: same
same: install ## do DAYS of flights_daily in batches and one by one, without Airflow, and compare every row
	$(BIN)/python -m bench.same --days $(or $(DAYS),365)

.PHONY: mutants
mutants: install ## switch every guard of exactly-once off in turn: a test must notice
	$(BIN)/python -m tests.chaos.mutants

.PHONY: fuzz
fuzz: install ## bend N bytes of a file of each format at random, and read it (N=1000)
	ROPEWALK_FUZZ=$(or $(N),1000) ROPEWALK_FUZZ_SEED=$${ROPEWALK_FUZZ_SEED:-$$RANDOM} \
	    $(BIN)/python -m pytest tests/corpus/test_fuzz.py

.PHONY: bench
bench: install ## print the benchmarks' tables
	$(BIN)/python -m bench

.PHONY: lock
lock: install ## resolve requirements.txt anew from pyproject.toml
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --extra dev \
	    --python-version 3.11 --custom-compile-command "make lock" --output-file requirements.txt pyproject.toml

.PHONY: audit
audit: install ## look for known vulnerabilities of the locked packages (asks https://osv.dev)
	$(BIN)/python scripts/audit.py

.PHONY: bom
bom: install ## write the bill of materials of the locked packages: build/ropewalk.cdx.json (CycloneDX)
	@mkdir -p build
	$(BIN)/python scripts/bom.py > build/ropewalk.cdx.json

.PHONY: clean
clean: ## stop everything, then remove the state, the databases and .venv
	@if [ -x $(BIN)/python ]; then $(LOCAL) remove; fi
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis include/*.egg-info
