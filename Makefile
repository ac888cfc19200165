# Every task of the project; `make` alone lists them.
PYTHON ?= /usr/bin/python3
BIN    := .venv/bin
FLOORS ?= unit node apiserver controller cni e2e tools kernel
export OVNLET_CACHE ?= /var/cache/ovnlet

.DEFAULT_GOAL := help

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  \033[36m%-14s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

include tests/testbed/bed.mk

# Every target with a description is a task, not a file.
.PHONY: .venv $(shell awk -F: '/^[a-z0-9 -]+:.*\#\# / {print $$1}' Makefile tests/testbed/bed.mk)

# Debian splits venv out of python3; a machine that has it already is left alone.
.venv: .venv/.ready
.venv/.ready: pyproject.toml
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || (cd tests && $(PYTHON) -m testbed.packages)
	@test -x $(BIN)/python || { echo 'making .venv'; $(PYTHON) -m venv .venv; }
	@$(BIN)/pip install --disable-pip-version-check --progress-bar off -q --upgrade 'pip>=25.1'
	@echo 'installing the Python dependencies'
	@$(BIN)/pip install --disable-pip-version-check -q --group dev --editable '.[cli]'
	@touch $@

plugin: packages  ## build the CNI plugin, a static executable
	@$(MAKE) -s -C cni/plugin

setup: packages .venv plugin  ## install and build everything that the tests and the demo need
	@cd tests && ../$(BIN)/python -m testbed.kubernetes > /dev/null && ../$(BIN)/python -m testbed.images > /dev/null

kernel: setup  ## install QEMU and unpack a stock Debian kernel in the cache
	@PYTHONPATH=tests $(PYTHON) -m testbed.packages --kernel
	@cd tests && ../$(BIN)/python -m testbed.kernel > /dev/null

demo: setup  ## the main job on two embedded nodes: kubelet, OVN, a Subnet, pods, repair; about a minute when warm
	@cd tests && ../$(BIN)/python -m proofs.demo $(if $(PICTURE),--picture)

check: .venv  ## lint, types, import contracts, spelling
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@PYTHONPATH=tests $(BIN)/lint-imports --no-logo
	@git ls-files -z | xargs -0 $(BIN)/codespell

test: setup kernel  ## all floors: unit node apiserver controller cni e2e, and a slice of tools and of kernel
	@$(BIN)/python tests/floors.py $(V:%=-v) $(FLOORS)

ci: .venv  ## what CI runs, lane by lane, with a table: LANES="drift bench"; build/ci.json
	@$(BIN)/python tests/lanes.py $(LANES)

test-unit: .venv  ## the floor that needs nothing
	@$(BIN)/python tests/floors.py $(V:%=-v) unit

test-node test-apiserver test-controller test-cni test-e2e test-tools: setup  ## one floor
	@$(BIN)/python tests/floors.py $(V:%=-v) $(@:test-%=%)

test-kernel: setup kernel  ## a stock Debian kernel with the kernel datapath: limits by traffic, node tests, a true reboot
	@$(BIN)/python tests/floors.py $(V:%=-v) --whole kernel

test-long: setup  ## tests of many minutes: 5,000 ADD and DEL; the API server away for 15; the tutorial and other pages typed
	@$(BIN)/python tests/floors.py $(V:%=-v) --long unit cni apiserver controller e2e

bench: setup  ## ADD, DEL, bursts, CPU and memory compared with the floor and other implementations: build/bench.json
	@cd tests && ../$(BIN)/python -m proofs.bench

qos: setup $(if $(KERNEL),kernel)  ## limits by annotation, measured with traffic: build/qos.json; KERNEL=1 build/qos-kernel.json
	@cd tests && ../$(BIN)/python -m proofs$(if $(KERNEL),.kernel).qos

controller-bench: setup  ## thousands of pods and Services at a real API server and a real northbound: build/controller.json
	@cd tests && ../$(BIN)/python -m proofs.controller

bench-ratios: setup  ## a part of it in 3 minutes: times divided by the floor's, compared with tests/proofs/bench/ratios.json
	@cd tests && ../$(BIN)/python -m proofs.bench --ratios

gateway: setup $(if $(KERNEL),kernel)  ## the node as a gateway by traffic, each condition broken and repaired, beside firewalls: build/gateway.json; SLICE=1 for CI; KERNEL=1 with IPVS
	$(if $(SLICE)$(KERNEL),,@PYTHONPATH=tests $(PYTHON) -m testbed.packages --firewalls)
	@cd tests && ../$(BIN)/python -m proofs.$(if $(KERNEL),kernel.ipvs,gateway) $(if $(SLICE),--slice)

underlay: setup $(if $(KERNEL),kernel)  ## provider networks: moves, faults, kills after each step, ways back, over the API server's own uplink; pods of two VLANs: build/underlay.json; SLICE=1 some of it; KERNEL=1 the node's tests on the kernel datapath
	@cd tests && ../$(BIN)/python -m proofs.underlay$(if $(KERNEL),.kernel,$(if $(SLICE), --slice))

migration: setup  ## kube-ovn-cni to ovnlet and back under traffic, with controls: build/migration.json
	@cd tests && ../$(BIN)/python -m proofs.migration

drift: setup $(if $(KERNEL),kernel)  ## inject every fault into running pods and time its repair, with a control run: build/drift.json; KERNEL=1 build/drift-kernel.json, SLICE=1 20 kinds of it
	@cd tests && ../$(BIN)/python -m $(if $(KERNEL),proofs.kernel.drift $(if $(SLICE),--slice),proofs.drift)

restart: setup kernel  ## restart Open vSwitch under traffic, with and without an agent, on the kernel datapath: build/restart.json
	@cd tests && ../$(BIN)/python -m proofs.kernel.restart $(if $(ROUNDS),--rounds $(ROUNDS))

drift-once: setup  ## each kind once on 24 pods, without pairs, long outages and sequences
	@cd tests && ../$(BIN)/python -m proofs.drift --once

drift-rest: setup  ## 100 pods at rest for 5 minutes: count every write
	@cd tests && ../$(BIN)/python -m proofs.drift --rest

tools-e2e: setup  ## `kubectl ovnlet` on two nodes with 20 pods and on 200 nodes, each verb, with planted faults and secrets: build/tools.json; the Helm chart: build/chart.json; SLICE=1 the part that `make test` runs
	@cd tests && ../$(BIN)/python -m proofs.tools $(if $(SLICE),--slice)
	$(if $(SLICE),,@cd tests && ../$(BIN)/python -m proofs.tools --chart)

reboot: setup kernel  ## cut the power of a virtual machine with pods, with and without an agent: build/reboot.json
	@cd tests && ../$(BIN)/python -m proofs.kernel.drift --name reboot --pods 8 --only "node rebooted"

tunnel: setup kernel  ## two nodes joined over Geneve, one of them a virtual machine: build/tunnel.json
	@cd tests && ../$(BIN)/python -m proofs.kernel.tunnel

soak: setup $(if $(KERNEL),kernel)  ## kill, fill, freeze and flood a node while pods come and go: MINUTES=60 SEED=n; build/soak.json; KERNEL=1 build/soak-kernel.json
	@cd tests && ../$(BIN)/python -m proofs$(if $(KERNEL),.kernel).soak --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED))

networks: setup  ## three interfaces in one pod on two nodes, attached by kubelet, plugged in and out: build/networks.xml
	@$(BIN)/python -m pytest -q -s -m long --junitxml=build/networks.xml tests/integration/e2e/test_networks.py

hotplug: setup  ## an interface plugged into running pods and out again under load, 100 times: build/hotplug.json; ROUNDS=n
	@cd tests && ../$(BIN)/python -m proofs.hotplug $(if $(ROUNDS),--rounds $(ROUNDS))

raft: setup  ## faults of a cluster of three databases under 50 pods a minute: build/raft.json
	@cd tests && ../$(BIN)/python -m proofs.raft $(RAFT)

e2e-install: setup  ## install, update, uninstall on an empty bed; what each capability and right is for: build/install.json
	@cd tests && ../$(BIN)/python -m proofs.install
	@cd tests && ../$(BIN)/python -m proofs.install --capabilities
	@cd tests && ../$(BIN)/python -m proofs.install --alone

install-once: setup  ## only the installation, update and removal of it: build/install.json
	@cd tests && ../$(BIN)/python -m proofs.install

image: setup  ## build the Dockerfile with buildah, and compare it with the registry-less image: build/image.json
	@PYTHONPATH=tests $(PYTHON) -m testbed.packages --image
	@cd tests && ../$(BIN)/python -m testbed.dockerfile

release: setup  ## wheel, sdist, image, chart, bill of materials, checksums in dist/: KEY=minisign.key signs, TWICE=1 compares builds
	@cd tests && ../$(BIN)/python -m testbed.release $(if $(KEY),--key $(abspath $(KEY))) $(if $(TWICE),--twice)

release-install: setup  ## the files of a release on an empty node, by containerd and Helm's engine: build/release.json
	@cd tests && ../$(BIN)/python -m proofs.install --release

dashboard: setup  ## the dashboard's queries, by a Prometheus that scrapes two nodes: build/dashboard.json, docs/how-to/dashboard.svg
	@cd tests && ../$(BIN)/python -m proofs.dashboard

site: .venv  ## build the documentation as a site that people can search, strictly: site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs: .venv  ## draw the figures of the documentation from its tables, then the site
	@cd tests && ../$(BIN)/python -m proofs.bench.figure
	@$(MAKE) -s site

format: .venv  ## let ruff put the code in order
	@$(BIN)/ruff check --fix -q
	@$(BIN)/ruff format -q

clean:  ## remove what was built in this checkout; the cache and .venv stay
	@rm -rf build site dist cni/plugin/ovnlet .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
