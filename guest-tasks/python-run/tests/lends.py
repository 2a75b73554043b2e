from omnimind import Error, Tensor, embed, embed_tensor, embedding_model

a = Tensor([[1, 2], [3, 4]])
print((a @ a.T).tolist(), (a + a * 2).tolist(), a.shape)
print(Tensor([[[1], [2]]]).shape, Tensor([1, 2, 3]).tolist(), Tensor([[[1], [2]], [[3], [4]]]).tolist())
print(Tensor([[0, 0], [0, 4]]).normalize().tolist(), Tensor([[0, 0]]).softmax().tolist())
print(Tensor([[3, 1, 2], [4, 6, 5]]).top_k(2), Tensor.random([2, 3], seed=1).shape)
one, other = embed(["the cat sat", "the cat sat down"])
print(len(one), 0.5 < sum(x * y for x, y in zip(one, other)) < 1)
print(embed_tensor(["a", "b"]).shape, embedding_model()["dimensions"])
for wrong in [
    lambda: a @ Tensor([[1, 2, 3]]),
    lambda: Tensor([[1], [2, 3]]),
    lambda: Tensor([]),
    lambda: a @ 3,
    lambda: Tensor.random([2], -1),
    lambda: embed([""]),
    lambda: embed([3]),
]:
    try:
        wrong()
    except (Error, TypeError, ValueError) as error:
        print(type(error).__name__, getattr(error, "kind", ""))
