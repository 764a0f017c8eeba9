"""One file per command, each with `add_arguments(parser)` and `run(arguments, office) -> exit code`."""
