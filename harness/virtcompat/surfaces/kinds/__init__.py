"""The document kinds: a module is a member, the folder is the list."""
