"""Judge a candidate kernel: what it must compute, on what it runs, whether it is right, how fast it is."""
