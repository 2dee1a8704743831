# Developer tasks. `make` without a target prints this list, which is taken from the comments below.
.DEFAULT_GOAL := help
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

lock:    ## Update the pinned requirements
	PATH="$$PATH:.tools/bin" uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --no-header --upgrade -o requirements.lock

bench:   ## Measure loads against a hand-written COPY and merge
	./run python benchmarks/load.py

check:   ## Run the checks of continuous integration
	bash .ci/run
