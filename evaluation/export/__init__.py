"""What an exported kernel is at run time: the parts it is written from, and the language that judges it."""
