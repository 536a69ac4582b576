"""The processes that train together: one, or those of `accelerate launch`. All that recovery knows of either."""

import os
from contextlib import nullcontext

import torch
from torch import nn


class Alone:
    """One process. sharded: each holds a part of every weight; engine: DeepSpeed, which steps as it goes backward."""

    rank, count, sharded, engine = 0, 1, False, False
    device: str | None = None  # where to load models; None: wherever they go by themselves

    def prepare(self, module: nn.Module, optimizer) -> tuple:
        """Module and optimiser as they train here."""
        return module, optimizer

    def quiet(self, module: nn.Module):
        """A context in which backward does not yet exchange gradients: other parts of the batch follow."""
        return nullcontext()

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()

    def clip(self, parameters, most: float) -> float:
        """Scale gradients to a norm of at most so much; the norm that they had."""
        return float(torch.nn.utils.clip_grad_norm_(parameters, most))

    def total(self, numbers: torch.Tensor) -> torch.Tensor:
        """Summed over processes."""
        return numbers

    def wait(self) -> None:
        """Until every process is here."""


class Launched(Alone):
    """The processes of `accelerate launch`, by Accelerate: DDP, or FSDP and DeepSpeed as its config file says."""

    def __init__(self):
        from accelerate import Accelerator
        from accelerate.utils import DistributedType

        self.accelerator = Accelerator(cpu=not torch.cuda.is_available())
        self.rank, self.count = self.accelerator.process_index, self.accelerator.num_processes
        self.device = str(self.accelerator.device)
        self.sharded = self.accelerator.distributed_type == DistributedType.FSDP
        self.engine = self.accelerator.distributed_type == DistributedType.DEEPSPEED

    def prepare(self, module, optimizer):
        if self.sharded:  # a shard's tensors must be of one type; Accelerate's mixed precision computes in another
            module.float()
        if self.engine:
            self.accelerator.state.deepspeed_plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = 1
        return self.accelerator.prepare(module, optimizer)

    def quiet(self, module):
        return self.accelerator.no_sync(module)

    def backward(self, loss):
        self.accelerator.backward(loss * self.count)  # gradients are averaged, and each loss is a share of the batch's

    def clip(self, parameters, most):
        found = self.accelerator.clip_grad_norm_(parameters, most)
        return 0.0 if found is None else float(whole(found))

    def total(self, numbers):
        device = self.accelerator.device
        kind = torch.float32 if device.type == "mps" else torch.float64
        return self.accelerator.reduce(numbers.to(device, kind), "sum").cpu()

    def wait(self):
        self.accelerator.wait_for_everyone()


def world() -> Alone:
    """The processes that this one belongs to."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    wanted = any(os.environ.get(x) == "true" for x in ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"))
    return Launched() if several or wanted else Alone()


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of which each process may hold a part."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


@torch.no_grad()
def fill(tensor: torch.Tensor, value: torch.Tensor) -> None:
    """Write a whole tensor into one of which each process may hold a part."""
    if hasattr(tensor, "full_tensor"):
        from torch.distributed.tensor import distribute_tensor

        value = distribute_tensor(value.to(tensor.device), tensor.device_mesh, tensor.placements)
    tensor.copy_(value)
