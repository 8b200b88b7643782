"""`python -m kernelevolve.server` is `kernelevolve`."""

from kernelevolve.server.start import main

if __name__ == "__main__":
    main()
