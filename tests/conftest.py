import torch

# The tests' tensors are small: a second thread costs more than it computes.
torch.set_num_threads(1)
