"""What compilers know: facts read from intermediate code and machine code, with no device."""
