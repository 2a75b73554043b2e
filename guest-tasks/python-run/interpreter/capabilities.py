"""What the host lends, for scripts: parts of `import omnimind`. Without the grant a call raises `access-denied`."""

from array import array
from collections.abc import Sequence
from math import prod

from wit_world.imports import embedding
from wit_world.imports import tensor as host

from .calls import call, list_of, whole

#: Numbers of one read: 4 MiB.
PIECE = 1 << 20


class Tensor:
    """Numbers (float32) that are on the host, and computed with there: `Tensor([[1, 2], [3, 4]])`.

    `a @ b` multiplies matrices, `a + b` adds, `a * number` scales; all of them make new tensors.
    """

    def __init__(self, numbers: Sequence) -> None:
        shape, flat = [], [numbers]
        while flat and isinstance(flat[0], Sequence):
            if len({len(row) for row in flat}) != 1:
                raise ValueError("all rows of a tensor are of one length")
            shape.append(len(flat[0]))
            flat = [number for row in flat for number in row]
        data = array("f", flat)
        self._host = call(host.Tensor.from_bytes, shape, host.ElementType.FLOAT32, data.tobytes())

    @classmethod
    def _of(cls, made) -> "Tensor":
        tensor = cls.__new__(cls)
        tensor._host = made
        return tensor

    @classmethod
    def random(cls, shape: Sequence[int], seed: int) -> "Tensor":
        """Uniform in [0, 1), the same for the same seed."""
        return cls._of(call(host.Tensor.random, sizes(shape), host.ElementType.FLOAT32, whole(seed, 64)))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._host.shape())

    @property
    def T(self) -> "Tensor":
        """Rows and columns exchanged."""
        return Tensor._of(call(self._host.transpose))

    def __matmul__(self, right: "Tensor") -> "Tensor":
        return Tensor._of(call(self._host.matmul, tensor(right), host.Precision.HIGHEST))

    def __add__(self, right: "Tensor") -> "Tensor":
        return Tensor._of(call(self._host.add, tensor(right)))

    def __mul__(self, factor: float) -> "Tensor":
        return Tensor._of(call(self._host.scale, float(factor)))

    __rmul__ = __mul__

    def softmax(self) -> "Tensor":
        """Of each row."""
        return Tensor._of(call(self._host.softmax))

    def normalize(self) -> "Tensor":
        """Each row brought to length 1."""
        return Tensor._of(call(self._host.normalize))

    def top_k(self, k: int) -> list[list[tuple[int, float]]]:
        """The k largest of each row and where they are, the largest first."""
        places, values = call(self._host.top_k, whole(k, 32))
        pairs = list(zip(places, values))
        return [pairs[at : at + k] for at in range(0, len(pairs), k)]

    def tolist(self) -> list:
        """All numbers, nested as the shape is."""
        shape, numbers = self.shape, array("f")
        for offset in range(0, prod(shape), PIECE):
            numbers.frombytes(call(self._host.read, offset, min(PIECE, prod(shape) - offset)))
        nested = numbers.tolist()
        for size in reversed(shape[1:]):
            nested = [nested[at : at + size] for at in range(0, len(nested), size)]
        return nested


def embed(texts: Sequence[str]) -> list[list[float]]:
    """The vector of each text, of length 1: near each other where the texts are alike."""
    made = call(embedding.embed, list_of(texts))
    size = made.dimensions
    return [made.data[at : at + size] for at in range(0, len(made.data), size)]


def embed_tensor(texts: Sequence[str]) -> Tensor:
    """The same as a tensor of as many rows."""
    return Tensor._of(call(embedding.embed_tensor, list_of(texts)))


def embedding_model() -> dict:
    """What makes the vectors: name, dimensions, max_tokens (of one text), device."""
    return dict(vars(call(embedding.describe)))


def tensor(value: Tensor):
    if not isinstance(value, Tensor):
        raise TypeError(f"expected a Tensor, got {type(value).__name__}")
    return value._host


def sizes(shape: Sequence[int]) -> list[int]:
    return [whole(size, 32) for size in shape]
