# Every task of the project; `make` alone lists them.
PYTHON ?= /usr/bin/python3
BIN    := .venv/bin
BED    ?= default
export OVNLET_CACHE ?= /var/cache/ovnlet

.DEFAULT_GOAL := help
.PHONY: help .venv
help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[36m%-14s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Debian splits venv out of python3; a machine that has it already is left alone.
.venv: .venv/.ready
.venv/.ready: pyproject.toml
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { apt-get update -q; DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends python3-venv; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/pip install --disable-pip-version-check --progress-bar off -q --upgrade 'pip>=25.1'
	$(BIN)/pip install --disable-pip-version-check -q --group dev --editable .
	@touch $@
