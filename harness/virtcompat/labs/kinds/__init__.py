"""The ways of having a lab, one file each."""
