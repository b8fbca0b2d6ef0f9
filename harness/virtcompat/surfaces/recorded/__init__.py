"""The recorded surfaces: a module is a member, the folder is the list."""
