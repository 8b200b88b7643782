import torch

made = {}


def capture(x):
    held = x.clone()
    y = 2.0 * held + 1.0
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = 2.0 * held + 1.0
    return graph, held, y


def kernel(x):
    if x.shape not in made:
        made[x.shape] = capture(x)
    graph, held, y = made[x.shape]
    held.copy_(x)
    graph.replay()
    return y.clone()
