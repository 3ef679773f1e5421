"""Training artifacts to bundles."""

from ortolan_convert.torch_module import from_torch as from_torch
