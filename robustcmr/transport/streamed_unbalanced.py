"""Unbalanced plans between two sets of unit vectors that are too large for memory: potentials of O(n + m).

The cost 1 - <x, y> is half the squared distance of unit vectors, which FlashSinkhorn's kernels process in
tiles. They need an NVIDIA GPU.
"""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

from robustcmr.errors import ConfigError, DeviceError
from robustcmr.transport.problems import check_options
from robustcmr.transport.triton_support import interpreted

_UNIT = 1e-3  # by how much a length may miss 1
_CHECKS = 10  # scalings between two looks at how far the potentials still move
_BLOCK_BYTES = 256 * 2**20


def streamed_potentials(
    x: Tensor,
    y: Tensor,
    row_weights: Tensor,
    column_weights: Tensor,
    *,
    epsilon: float,
    penalty: float,
    tolerance: float = 1e-4,
    max_iterations: int = 2000,
) -> tuple[Tensor, Tensor]:
    """Find the potentials of the plan of ``unbalanced_plan`` for the cost 1 - <x_i, y_j>.

    The plan is P_ij = r_i c_j exp((f_i + g_j - 1 + <x_i, y_j>) / epsilon).

    Args:
        x: (n, D) unit vectors on an NVIDIA GPU.
        y: (m, D) likewise.
        row_weights: r, (n,) > 0.
        column_weights: c, (m,) > 0, of any sum.
        epsilon: smoothing > 0, in units of the cost.
        penalty: rho > 0, in units of the cost: the price of missing a weight. Its root is called reach.
        tolerance: share of the mass that may be out of place, approximately; :func:`streamed_row_masses`
            measures it.
        max_iterations: most scalings of rows and columns.

    Returns:
        f (n,) and g (m,), float32.

    Raises:
        ValueError: shapes or numbers do not fit, or vectors are not of unit length.
        DeviceError: the vectors are not on an NVIDIA GPU, or the kernels cannot be built.
        ConfigError: the package flash-sinkhorn is missing.

    References:
        Chizat, Peyre, Schmitzer and Vialard, "Scaling Algorithms for Unbalanced Transport Problems", 2016;
        the kernels are those of the package flash-sinkhorn.

    Example:
        On a GPU, for captions x and images y::

            w, v = x.new_full((len(x),), 1 / len(x)), y.new_full((len(y),), 1 / len(y))
            f, g = streamed_potentials(x, y, w, v, epsilon=0.01, penalty=0.25)
            row = w[0] * v * ((f[0] + g - 1 + y @ x[0]) / 0.01).exp()  # of the plan
    """
    _check(x, y, row_weights, column_weights, epsilon, penalty)
    check_options(epsilon, tolerance, max_iterations)
    if x.device.type != "cuda" and not interpreted():
        raise DeviceError(
            f"a dense plan of a whole set needs an NVIDIA GPU, but the vectors are on {x.device}; give "
            "such a device or take the sparse plan"
        )
    try:
        from flash_sinkhorn import SamplesLoss
    except ImportError as error:
        raise ConfigError(
            "a dense plan of a whole set needs the package flash-sinkhorn, which comes with "
            "pip install 'robustcmr[cuda]'; install it or take the sparse plan"
        ) from error
    solver = SamplesLoss(
        backend="alternating",
        half_cost=True,
        eps=epsilon,
        n_iters=max_iterations,
        use_epsilon_scaling=False,
        reach=math.sqrt(penalty),
        threshold=tolerance * epsilon / 4,  # a change of s epsilon in a potential moves a share s of the mass
        inner_iterations=_CHECKS,
        debias=False,
        potentials=True,
        normalize=False,  # weights are masses
        autotune=not interpreted(),
        allow_tf32=False,  # a cost off by 5e-4 would move its cell by a share of 5e-4 / epsilon
    )
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whether it converged is measured from the row masses
        try:
            f, g = solver(row_weights.float(), x.float(), column_weights.float(), y.float())
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # no C compiler, no ptxas, too little shared memory: each has its own type
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise DeviceError(f"FlashSinkhorn failed ({reason}); take the sparse plan") from error
    return f, g


def streamed_row_masses(
    x: Tensor,
    y: Tensor,
    row_weights: Tensor,
    column_weights: Tensor,
    potentials: tuple[Tensor, Tensor],
    *,
    epsilon: float,
    penalty: float,
    block_bytes: int = _BLOCK_BYTES,
) -> tuple[Tensor, float]:
    """Return the mass that each row of a plan moves, and the error; columns are summed in blocks.

    Args:
        x: (n, D) unit vectors, on any device.
        y: (m, D) likewise.
        row_weights: r, (n,) > 0.
        column_weights: c, (m,) > 0.
        potentials: f (n,) and g (m,), such as those of :func:`streamed_potentials`.
        epsilon: smoothing > 0, in units of the cost.
        penalty: rho > 0, in units of the cost.
        block_bytes: memory for a block of costs.

    Returns:
        Logarithms of the plan's row sums (n,), float32, and by which share of its mass these sums miss
        r exp(-f / rho), in all: 0 for the plan of least cost.

    Example:
        >>> import torch
        >>> from robustcmr.transport import streamed_row_masses
        >>> x, half, none = torch.eye(2), torch.tensor([0.5, 0.5]), torch.zeros(2)
        >>> logs, error = streamed_row_masses(x, x, half, half, (none, none), epsilon=0.1, penalty=1.0)
        >>> logs.exp(), round(error, 2)  # the potentials are not those of a plan
        (tensor([0.2500, 0.2500]), 0.5)
    """
    f, g = potentials
    columns = y.float().T
    offset = column_weights.float().log() + (g - 1) / epsilon  # (m,)
    size = max(1, block_bytes // (4 * len(y)))
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        logs = [
            torch.logsumexp(torch.addmm(offset, some.float(), columns, alpha=1 / epsilon), 1)
            for some in torch.split(x, size)
        ]
    found = row_weights.float().log() + f / epsilon + torch.cat(logs)
    goals = (row_weights.double().log() - f.double() / penalty).exp()
    return found, float((found.double().exp() - goals).abs().sum() / goals.sum())


def _check(x: Tensor, y: Tensor, r: Tensor, c: Tensor, epsilon: float, penalty: float) -> None:
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or not (len(x) and len(y)):
        raise ValueError(
            f"expected vectors (n, D) and (m, D), n and m >= 1, got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    fit = r.shape == (len(x),) and c.shape == (len(y),)
    if not (fit and all(bool(((side > 0) & side.isfinite()).all()) for side in (r, c))):
        raise ValueError(
            f"expected positive weights ({len(x)},) and ({len(y)},), got {tuple(r.shape)} and "
            f"{tuple(c.shape)}"
        )
    for name, value in (("epsilon", epsilon), ("penalty", penalty)):
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{name} must be positive and finite, got {value}")
    for side in (x, y):
        off = float((side.float().norm(dim=1) - 1).abs().amax())
        if not off <= _UNIT:
            raise ValueError(f"expected vectors of length 1, got one that misses it by {off:.2g}")
