# Developer tasks. `make` without a target prints this list, which is taken from the comments below.
.DEFAULT_GOAL := help
# Without addresses of an index, so that each machine uses its own.
LOCK = uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet
.PHONY: help format lint types test soak docs lock bench check

help:    ## Print this list
	@sed -n 's/^\([a-z]*\): *## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

format:  ## Format the code
	./run ruff format .
	./run ruff check --fix .

lint:    ## Check format and lint
	./run ruff format --check .
	./run ruff check .

types:   ## Check the types
	./run mypy

test:    ## Run the tests
	./run pytest

soak:    ## Run the long kill and endurance tests
	./run pytest -m soak

docs:    ## Regenerate the generated pages
	./run python docs/generate.py

lock:    ## Pin what pyproject.toml has changed, for checkout, image and receiver; UPGRADE=--upgrade updates all
	PATH="$$PATH:.tools/bin" $(LOCK) --all-extras --group dev -o requirements.lock $(UPGRADE) pyproject.toml
	PATH="$$PATH:.tools/bin" $(LOCK) --extra receiver --group image -c requirements.lock -o requirements-runtime.lock pyproject.toml
	PATH="$$PATH:.tools/bin" $(LOCK) --group receiver -c requirements-runtime.lock -o requirements-receiver.lock
	PATH="$$PATH:.tools/bin" $(LOCK) --extra testing --group dbt -o requirements-dbt.lock $(UPGRADE) pyproject.toml

bench:   ## Measure loads against a hand-written COPY and merge
	./run python benchmarks/load.py

check:   ## Run the checks of continuous integration
	bash .ci/run
