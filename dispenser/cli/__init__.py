"""The command line: one file per group of commands, each a short script over the wiring."""
