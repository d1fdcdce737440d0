"""The core decides and knows no waiting: no clock, no randomness of its own, no I/O. Time comes in as an argument."""
