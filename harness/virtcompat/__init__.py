"""virt-compat: compatibility checks of virtualization stacks, on real binaries of several releases."""

__version__ = "0.1.0"
