"""Encoded images or captions: embeddings, nodes, and which nodes belong to which item.

N items, M nodes of all items, d width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from resg.graphs.ragged import Layout, offsets

GatherRows = Callable[[Tensor, Sequence[int]], Tensor]
"""Rows of this process, and how many each process has, to the rows of all processes."""


@dataclass(frozen=True)
class Encoded:
    """Encoded images, or encoded captions.

    Attributes:
        embeddings: `[N, d]` float32, unit length: a graph pooled to one vector.
        nodes: `[M, d]` unit length, item after item.
        ptr: `[N+1]` offsets of the items' nodes, on the host.
    """

    embeddings: Tensor
    nodes: Tensor
    ptr: Tensor

    def __len__(self) -> int:
        return len(self.embeddings)

    def rows(self, start: int, end: int) -> "Encoded":
        """Items `start` up to `end`."""
        first, last = int(self.ptr[start]), int(self.ptr[end])
        ptr = self.ptr[start : end + 1] - first
        return Encoded(self.embeddings[start:end], self.nodes[first:last], ptr)

    def to(self, device: torch.device) -> "Encoded":
        """The same items on a device."""
        return Encoded(self.embeddings.to(device), self.nodes.to(device), self.ptr)

    @classmethod
    def cat(cls, parts: Sequence["Encoded"]) -> "Encoded":
        """The items of all parts, in order."""
        return cls(
            torch.cat([part.embeddings for part in parts]),
            torch.cat([part.nodes for part in parts]),
            offsets(torch.cat([part.ptr.diff() for part in parts])),
        )

    def without_padding(self, layout: Layout) -> "Encoded":
        """The same items without padding nodes.

        Args:
            layout: of the padded graphs that were encoded.
        """
        ptr = torch.from_numpy(layout.valid_ptr)
        return Encoded(self.embeddings, layout.valid(self.nodes), ptr)

    def gather(self, gather_rows: GatherRows, nodes_by_process: Sequence[Tensor]) -> "Encoded":
        """The items of all processes, with their gradients.

        Args:
            gather_rows: see `resg.training.distributed`.
            nodes_by_process: for each process, the number of nodes of each of its items, on the
                host.
        """
        if len(nodes_by_process) == 1:
            return self
        return Encoded(
            gather_rows(self.embeddings, [len(counts) for counts in nodes_by_process]),
            gather_rows(self.nodes, [int(counts.sum()) for counts in nodes_by_process]),
            offsets(torch.cat([*nodes_by_process])),
        )
