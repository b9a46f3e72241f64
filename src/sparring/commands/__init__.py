"""Commands of the command line that have a file of their own. Nothing here needs torch before a command runs."""
