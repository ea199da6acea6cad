"""Types of the shapes that torch's distributions accept."""

SizeLike = list[int] | tuple[int, ...]  # a torch.Size is a tuple
