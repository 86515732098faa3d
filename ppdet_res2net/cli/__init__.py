"""The command line: ``main`` finds the command; every other module is one command with ``main(argv)``."""
