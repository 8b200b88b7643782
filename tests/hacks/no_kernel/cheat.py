def kernel(x):
    return 2.0 * x + 1.0
