# Two commands: 'make matrix' runs the main job, 'make test' runs every test. Both set up what they need.
PYTHON ?= python3
VENV := .venv
TOOL := $(VENV)/bin/virt-compat
SUDO := $(shell [ "$$(id -u)" = 0 ] || command -v sudo)
SYSTEM := mmdebstrap bubblewrap

# Two labs are built at a time.
MAKEFLAGS += -j2
.PHONY: matrix labs lab-plain surfaces guests test system clean

matrix: $(TOOL) labs
	@# 3 means that something could not be asked here, which the matrix says itself.
	$(TOOL) publish || [ $$? = 3 ]

# Without the right to install packages, or a mirror, the labs stay unbuilt and the matrix says so.
labs: lab-plain lab-all lab-sys

# The labs with headers and tools: what the recorded surfaces are read from. The matrix has their golden records.
surfaces: lab-abi

lab-plain: $(TOOL) system
	-$(TOOL) lab create
lab-%: $(TOOL) system
	-$(TOOL) lab create debian-11-$* debian-12-$* debian-13-$* debian-14-$*

# Guests recorded, replayed and migrated live between every pair of releases: some ten minutes the first time.
guests: $(TOOL) surfaces
	$(TOOL) publish --guests || [ $$? = 3 ]

test: $(TOOL) labs surfaces
	$(VENV)/bin/tox run

system:
	@for tool in mmdebstrap bwrap; do command -v $$tool >/dev/null || missing=1; done; \
	if [ -n "$$missing" ]; then $(SUDO) apt-get update -q && $(SUDO) apt-get install -qy --no-install-recommends $(SYSTEM) \
	|| echo "could not install $(SYSTEM); see 'virt-compat doctor'"; fi

$(TOOL): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $(TOOL)

clean:
	rm -rf $(VENV) .tox .pytest_cache .mypy_cache .ruff_cache .hypothesis
