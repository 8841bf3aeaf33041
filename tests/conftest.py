"""One torch thread: on a crowded machine two make the suite many times slower."""

import torch

torch.set_num_threads(1)
