"""What the commands do, one module each; the command line only reads arguments and prints."""
