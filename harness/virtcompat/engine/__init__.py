"""The engine: plans cells, asks each question once, lets the checks judge, collects the matrix."""
