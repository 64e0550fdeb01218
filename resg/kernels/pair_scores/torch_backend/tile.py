"""Scores of a dense tile of pairs, and their gradients, derived by hand.

I images of at most R regions, C captions of at most W words, d width.
V: [I, R, d];  T: [C, W, d];  S, and everything of its size: [I, R, C, W];  scores: [I, C]

The attended vectors are never formed: with attention a and logits s of a node x,
`cos(x, aᵀV) = p / (|x| sqrt(q))` with `p = aᵀs`, `q = aᵀ G a` and `G = V Vᵀ`. A cosine does not
change with the length of its arguments, so the attention needs no division by its sum.

Padding nodes are zeros. As attended nodes they add nothing to p and q, whatever their attention; as
attending nodes they take no part in the pooling, so no gradient passes through them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from resg.kernels.pair_scores.reference import NORM_FLOOR
from resg.kernels.pair_scores.settings import PairSettings

LEAK = 0.1
LARGEST_EXPONENT = 20.0  # up to here exp(x) and its square stay well inside float32
LEAST_SQUARE = 1e-36
LEAST_NORM = 1e-18
IMAGE, REGION, CAPTION, WORD = range(4)


@dataclass(frozen=True)
class Nodes:
    """One side of a tile.

    Attributes:
        nodes: `[n, count, d]`, zeros where an owner has fewer.
        counts: `[n]` numbers of nodes, at least 1.
        is_padded: whether any owner has fewer nodes than the widest.
    """

    nodes: Tensor
    counts: Tensor
    is_padded: bool

    def lengths(self) -> Tensor:
        """`[n, count]` lengths of the nodes."""
        return torch.linalg.vector_norm(self.nodes, dim=2)

    def gram(self) -> Tensor:
        """`[n, count, count]` products of each owner's nodes."""
        return self.nodes @ self.nodes.transpose(1, 2)

    def inverse_counts(self) -> Tensor:
        """`[n, 1]` one over the numbers of nodes."""
        return self.counts.to(self.nodes.dtype).reciprocal()[:, None]

    def mask(self) -> Tensor:
        """`[n, count]` whether a node is no padding."""
        return torch.arange(self.nodes.shape[1], device=self.counts.device) < self.counts[:, None]


@dataclass(frozen=True)
class Direction:
    """Who attends to whom; each tensor is laid out to broadcast against S.

    Attributes:
        attending: dimension of S along which the attending nodes lie, `REGION` or `WORD`.
        attended: the other one.
        temperature: inverse softmax temperature.
        gram: of the attended nodes, `[owners, count, count]`.
        lengths: of the attending nodes, at least the floor of norms.
        inverse_counts: one over the number of attending nodes.
        attending_mask: which attending nodes are no padding; None where none is.
        attended_mask: the same of the attended ones.
    """

    attending: int
    attended: int
    temperature: float
    gram: Tensor
    lengths: Tensor
    inverse_counts: Tensor
    attending_mask: Tensor | None
    attended_mask: Tensor | None


@dataclass(frozen=True)
class Attention:
    """Intermediate values of one direction, of S's size or with 1 along `attended` (root, cosines).

    Attributes:
        E: attention, up to a factor for each attending node.
        attended: E times the gram matrix.
        strength: what logits were multiplied with, 1 along `attending`; None for plain logits.
        norm: of the logits, as `strength`.
        root: sqrt(q).
        cosines: p / (length root).
    """

    E: Tensor
    attended: Tensor
    strength: Tensor | None
    norm: Tensor | None
    root: Tensor
    cosines: Tensor


def tile_scores(images: Nodes, captions: Nodes, settings: PairSettings) -> Tensor:
    """Scores `[I, C]` of all images of a tile with all its captions."""
    S, L = _logits(images, captions, settings)
    scores = [
        _pooled(_attend(S, L, direction, settings).cosines, direction, settings)
        for direction in _directions(images, captions, settings)
    ]
    pooled = scores[0] if len(scores) == 1 else (scores[0] + scores[1]) / 2
    return pooled.view(len(images.nodes), len(captions.nodes))


def tile_gradients(
    images: Nodes, captions: Nodes, grad: Tensor, settings: PairSettings
) -> tuple[Tensor, Tensor]:
    """Gradients for both sides' nodes from that of the scores; those of padding are meaningless."""
    V, T = images.nodes, captions.nodes
    S, L = _logits(images, captions, settings)
    directions = _directions(images, captions, settings)
    grad = grad[:, None, :, None] / len(directions)
    grad_S = torch.zeros_like(S)
    grad_V, grad_T = torch.zeros_like(V), torch.zeros_like(T)
    for direction in directions:
        gram_gradient, length_gradient = _add_direction(grad_S, S, L, grad, direction, settings)
        if direction.attended == REGION:
            grad_V += gram_gradient @ V
            grad_T += length_gradient.view(T.shape[:2])[:, :, None] * T
        else:
            grad_T += gram_gradient @ T
            grad_V += length_gradient.view(V.shape[:2])[:, :, None] * V
    grad_S = grad_S.view(V.shape[0] * V.shape[1], T.shape[0] * T.shape[1])
    grad_V += (grad_S @ T.flatten(0, 1)).view_as(V)
    grad_T += (grad_S.T @ V.flatten(0, 1)).view_as(T)
    return grad_V, grad_T


def _logits(images: Nodes, captions: Nodes, settings: PairSettings) -> tuple[Tensor, Tensor]:
    """S, and S as the softmax sees it before it is normalised."""
    V, T = images.nodes, captions.nodes
    S = (V.flatten(0, 1) @ T.flatten(0, 1).T).view(*V.shape[:2], *T.shape[:2])
    clipped = settings.normalise == "clipped_l2"
    return S, torch.nn.functional.leaky_relu(S, LEAK) if clipped else S


def _directions(images: Nodes, captions: Nodes, settings: PairSettings) -> list[Direction]:
    """The directions that are wanted: words attend first, then regions."""
    sides = {REGION: images, WORD: captions}
    masks = {
        dim: _beside_logits(side.mask(), dim) if side.is_padded else None
        for dim, side in sides.items()
    }
    wanted = []
    if settings.words_attend:
        wanted.append((WORD, REGION, settings.temperatures[0]))
    if settings.regions_attend:
        wanted.append((REGION, WORD, settings.temperatures[1]))
    return [
        Direction(
            attending=attending,
            attended=attended,
            temperature=temperature,
            gram=sides[attended].gram(),
            lengths=_beside_logits(sides[attending].lengths().clamp(min=NORM_FLOOR), attending),
            inverse_counts=_beside_logits(sides[attending].inverse_counts(), attending),
            attending_mask=masks[attending],
            attended_mask=masks[attended],
        )
        for attending, attended, temperature in wanted
    ]


def _beside_logits(values: Tensor, dimension: int) -> Tensor:
    """Values `[owners, nodes]` of one side, laid out to broadcast against S."""
    return values[:, :, None, None] if dimension == REGION else values


def _attend(S: Tensor, L: Tensor, direction: Direction, settings: PairSettings) -> Attention:
    norm = strength = None
    if settings.normalise == "clipped_l2":
        norm = _norm(L, direction.attending)
        strength = direction.temperature / (norm + NORM_FLOOR)
    E = L * (direction.temperature if strength is None else strength)
    if norm is None or direction.temperature > LARGEST_EXPONENT:  # normalised: in [-1, 1]
        if direction.attended_mask is not None:
            E.masked_fill_(~direction.attended_mask, -torch.inf)
        E -= E.amax(direction.attended, keepdim=True)
    E.exp_()
    attended = _times_gram(E, direction)
    along = (E * S).sum(direction.attended, keepdim=True)
    square = (E * attended).sum(direction.attended, keepdim=True)
    root = square.clamp_(min=LEAST_SQUARE).sqrt_()
    return Attention(E, attended, strength, norm, root, along / (direction.lengths * root))


def _norm(L: Tensor, dimension: int) -> Tensor:
    """Length of L along a dimension, kept as 1; each form is the faster one on a CPU."""
    if dimension == WORD:
        return torch.linalg.vector_norm(L, dim=WORD, keepdim=True)
    return L.square().sum(dimension, keepdim=True).sqrt_()


def _times_gram(E: Tensor, direction: Direction) -> Tensor:
    """E times the gram matrix of the attended nodes, of E's shape."""
    if direction.attended == REGION:
        return torch.bmm(direction.gram, E.flatten(2)).view_as(E)
    I, R, C, W = E.shape  # noqa: E741 - I images, as elsewhere
    return torch.bmm(_by_caption(E), direction.gram).transpose(0, 1).view(I, R, C, W)


def _by_caption(X: Tensor) -> Tensor:
    """X as `[C, I * R, W]`."""
    return X.flatten(0, 1).transpose(0, 1)


def _pooled(cosines: Tensor, direction: Direction, settings: PairSettings) -> Tensor:
    """Mean or log-sum-exp of the attending nodes' cosines, 1 along both nodes' dimensions."""
    if settings.pooling == "mean":  # the cosine of padding is 0
        return cosines.sum(direction.attending, keepdim=True) * direction.inverse_counts
    scaled = settings.lambda_lse * cosines
    if direction.attending_mask is not None:
        scaled = scaled.masked_fill(~direction.attending_mask, -torch.inf)
    return torch.logsumexp(scaled, direction.attending, keepdim=True) / settings.lambda_lse


def _add_direction(
    grad_S: Tensor,
    S: Tensor,
    L: Tensor,
    grad: Tensor,
    direction: Direction,
    settings: PairSettings,
) -> tuple[Tensor, Tensor]:
    """Add one direction's gradient of S to `grad_S`; give those of gram matrix and lengths.

    With e the attention and x its exponents, the cosine p / (|t| sqrt(q)) has the derivatives

        d/dp = 1 / (|t| sqrt(q)),   d/dq = -cos / 2q,   d/d|t| = -cos / |t|
        dp = sᵀ de + eᵀ ds,   dq = 2 (G e)ᵀ de + eᵀ dG e,   de = e dx

    Returns the matrix that the attended nodes are to be multiplied with, `[owners, count, count]`,
    and the factors of the attending nodes, of S's shape with 1 elsewhere.
    """
    attention = _attend(S, L, direction, settings)
    E, cosines, root = attention.E, attention.cosines, attention.root
    grad_cosines = grad * _weights(cosines, direction, settings)
    by_along = grad_cosines / (direction.lengths * root)
    by_square = grad_cosines * cosines
    others = (IMAGE, REGION) if direction.attended == REGION else (CAPTION, WORD)
    length_gradient = by_square.sum(others, keepdim=True) / direction.lengths.square()
    length_gradient.masked_fill_(direction.lengths <= NORM_FLOOR, 0).neg_()
    square = root.square()
    by_square = by_square.neg_().masked_fill_(square <= 2 * LEAST_SQUARE, 0).div_(square)
    gram_gradient = _gram_gradient(E * by_square, E, direction)
    grad_x = (S * by_along).addcmul_(attention.attended, by_square).mul_(E)
    grad_S.addcmul_(E, by_along)
    if attention.strength is None or attention.norm is None:
        grad_S.add_(grad_x, alpha=direction.temperature)
        return gram_gradient, length_gradient
    total = (grad_x * L).sum(direction.attending, keepdim=True)
    total /= (attention.norm + NORM_FLOOR) * attention.norm.clamp(min=LEAST_NORM)
    grad_L = grad_x.addcmul_(L, total, value=-1).mul_(attention.strength)
    grad_S += torch.where(S > 0, grad_L, LEAK * grad_L)
    return gram_gradient, length_gradient


def _weights(cosines: Tensor, direction: Direction, settings: PairSettings) -> Tensor:
    """Derivative of the pooled score for each cosine; 0 for padding."""
    mask = direction.attending_mask
    if settings.pooling == "mean":
        return direction.inverse_counts if mask is None else direction.inverse_counts * mask
    scaled = settings.lambda_lse * cosines
    if mask is not None:
        scaled = scaled.masked_fill(~mask, -torch.inf)
    return torch.softmax(scaled, direction.attending)


def _gram_gradient(scaled: Tensor, E: Tensor, direction: Direction) -> Tensor:
    """Sum of `scaled Eᵀ` over all that attend, for each owner of attended nodes."""
    if direction.attended == REGION:
        return torch.bmm(scaled.flatten(2), E.flatten(2).transpose(1, 2))
    return torch.bmm(_by_caption(scaled).transpose(1, 2), _by_caption(E))
