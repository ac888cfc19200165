# Named test beds: BED=name chooses one, NODES=2 makes it a pair, PARTS=ovs,ovn only some of it.
BED   ?= default
NODES ?= 1
NODE  ?=
PARTS ?=
TESTBED = PYTHONPATH=tests $(BIN)/python -m testbed

.PHONY: packages bed bed-image bed-shell bed-down bed-clean bed-list bed-inventory
packages:  ## install the Debian packages of the test bed
	PYTHONPATH=tests $(PYTHON) -m testbed.packages

bed: .venv packages $(if $(KERNEL),kernel)  ## bring a bed up: BED=name NODES=1|2 PARTS=...; KERNEL=1 a virtual machine
	$(TESTBED) up $(BED) $(if $(KERNEL),--kernel,--nodes $(NODES) $(if $(PARTS),--parts $(PARTS)))
	$(if $(KERNEL),@$(TESTBED) shell $(BED))

bed-image: .venv  ## build ovnlet's image, import it in a bed and print how to install it: BED=name
	@$(TESTBED) image $(BED)

bed-shell: .venv  ## open a shell in a bed: BED=name NODE=n0|n1|ctl
	$(TESTBED) shell $(BED) $(NODE)

bed-inventory: .venv  ## print the inventory of a node as JSON: BED=name NODE=n0
	$(TESTBED) inventory $(BED) $(NODE)

bed-down: .venv  ## remove a bed: BED=name
	$(TESTBED) down $(BED)

bed-clean: .venv  ## remove the beds that are not up
	$(TESTBED) clean

bed-list: .venv  ## list the beds
	$(TESTBED) list
