const { Tensor, HostError, embed, embedTensor, embeddingModel } = omnimind;
const show = (...values) => console.log(...values.map((value) => JSON.stringify(value)));

const a = new Tensor([[1, 2], [3, 4]]);
show(a.matmul(a.transpose()).toArray(), a.add(a.scale(2)).toArray(), a.shape);
show(new Tensor([[[1], [2]]]).shape, new Tensor([1, 2, 3]).toArray(), new Tensor([[[1], [2]], [[3], [4]]]).toArray());
show(new Tensor([[0, 0], [0, 4]]).normalize().toArray(), new Tensor([[0, 0]]).softmax().toArray());
show(new Tensor([[3, 1, 2], [4, 6, 5]]).topK(2), Tensor.random([2, 3], 1).shape);
const [one, other] = embed(['the cat sat', 'the cat sat down']);
const alike = one.reduce((sum, number, at) => sum + number * other[at], 0);
show(one.length, alike > 0.5 && alike < 1, embedTensor(['a', 'b']).shape, embeddingModel().dimensions);
for (const wrong of [
  () => a.matmul(new Tensor([[1, 2, 3]])),
  () => new Tensor([[1], [2, 3]]),
  () => new Tensor([]),
  () => a.matmul(3),
  () => Tensor.random([2], -1),
  () => embed(['']),
  () => embed([3]),
]) {
  try {
    wrong();
  } catch (error) {
    console.log(error.name, error instanceof HostError ? error.kind : '');
  }
}
