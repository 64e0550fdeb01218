"""AdamW with the schedule of its learning rate, clipped gradients and averaged weights."""

import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from resg.config import TrainSettings
from resg.models.matcher import Matcher


class Optimiser:
    """Turns losses into better weights.

    In float16 the loss is scaled, so that small gradients do not vanish.

    Args:
        matcher: whose weights are trained.
        settings: learning rate and its schedule, clipping, averaging.
        total_steps: of the whole run.
        autocast_type: of the forward passes.
    """

    def __init__(
        self,
        matcher: Matcher,
        settings: TrainSettings,
        total_steps: int,
        autocast_type: torch.dtype,
    ) -> None:
        self.matcher = matcher
        self.settings = settings
        self.total_steps = total_steps
        self.adamw = make_adamw(matcher, settings)
        device = next(matcher.parameters()).device.type
        self.scaler = torch.amp.GradScaler(device, enabled=autocast_type is torch.float16)
        self.average = (
            AveragedModel(
                matcher, multi_avg_fn=get_ema_multi_avg_fn(settings.ema), use_buffers=True
            )
            if settings.ema
            else None
        )

    @property
    def learning_rate(self) -> float:
        """The present one of all weights but a Hugging Face encoder's."""
        return float(self.adamw.param_groups[0]["lr"])

    @property
    def best_matcher(self) -> Matcher:
        """The matcher to evaluate and to keep: with averaged weights, where they are averaged."""
        return self.matcher if self.average is None else cast(Matcher, self.average.module)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a batch to those of the step."""
        self.scaler.scale(loss / self.settings.accumulate).backward()

    def step(self, step: int) -> None:
        """Clip the gradients and take a step with the learning rate of that step."""
        share = learning_rate_share(self.settings, step, self.total_steps)
        for group in self.adamw.param_groups:
            group["lr"] = group["peak"] * share
        self.scaler.unscale_(self.adamw)
        nn.utils.clip_grad_norm_(self.matcher.parameters(), clip_norm(self.settings))
        self.scaler.step(self.adamw)
        self.scaler.update()
        self.adamw.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update_parameters(self.matcher)


def make_adamw(matcher: Matcher, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW, with a learning rate of its own for a Hugging Face encoder.

    `peak` of a parameter group is its peak learning rate.
    """
    encoder = getattr(matcher.words, "encoder", None)
    inner = {id(p) for p in encoder.parameters()} if encoder is not None else set()
    slow = [p for p in matcher.parameters() if id(p) in inner]
    fast = [p for p in matcher.parameters() if id(p) not in inner]
    rates = [(fast, settings.learning_rate)]
    if slow:
        rates.append((slow, settings.learning_rate * settings.text_learning_rate))
    groups: list[dict[str, Any]] = [
        {"params": params, "lr": rate, "peak": rate} for params, rate in rates
    ]
    is_fused = next(matcher.parameters()).is_cuda
    return torch.optim.AdamW(groups, weight_decay=settings.weight_decay, fused=is_fused)


def learning_rate_share(settings: TrainSettings, step: int, total_steps: int) -> float:
    """Share of the peak learning rate at a step: a linear warm-up, then the schedule.

    Of a step that is 1, then `decay`; of a cosine it falls from 1 to 0 (Loshchilov and Hutter 2017,
    eq. 5, without restarts).
    """
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    if settings.schedule == "cosine":
        done = (step - settings.warmup_steps) / max(1, total_steps - settings.warmup_steps)
        return (1 + math.cos(math.pi * done)) / 2
    return settings.decay if step >= settings.decay_after * total_steps else 1.0


def clip_norm(settings: TrainSettings) -> float:
    """Norm to which the gradient of a mean over anchors is clipped."""
    num_anchors = 2 * settings.batch_size
    return settings.clip / num_anchors if settings.clip_of == "sum" else settings.clip


def choose_autocast_type(precision: str, device: torch.device) -> torch.dtype:
    """The type of autocast; float32 means none."""
    if precision == "auto":
        has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
        precision = "bf16" if has_bf16 else "fp32"
    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]
