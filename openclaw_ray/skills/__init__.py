"""What nodes can do: Python functions and commands; how they travel, are found, checked and run."""
