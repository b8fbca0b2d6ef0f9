# Two commands: 'make matrix' runs the main job, 'make test' runs every test. Both set up what they need.
PYTHON ?= python3
VENV := .venv
TOOL := $(VENV)/bin/virt-compat
SUDO := $(shell [ "$$(id -u)" = 0 ] || command -v sudo)
SYSTEM := mmdebstrap bubblewrap

.PHONY: matrix labs surfaces guests test system clean

matrix: $(TOOL) labs
	@# 3 means that something could not be asked here, which the matrix says itself.
	$(TOOL) publish || [ $$? = 3 ]

# Without the right to install packages, or a mirror, the labs stay unbuilt and the matrix says so.
labs: $(TOOL) system
	-$(TOOL) lab create
	-$(TOOL) lab create debian-11-all debian-12-all debian-13-all debian-14-all
	-$(TOOL) lab create debian-11-sys debian-12-sys debian-13-sys debian-14-sys

# The labs with headers and tools: what the recorded surfaces are read from. The matrix has their golden records.
surfaces: $(TOOL) system
	-$(TOOL) lab create debian-11-abi debian-12-abi debian-13-abi debian-14-abi

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
