"""A peer of the embedding bench: `peer.py onnxruntime|sentence-transformers MODEL THREADS`.

Reads lines `{"texts": [...], "times": N}` and answers each with the milliseconds that embedding the texts took once,
tokens and pooling included. The model is all-MiniLM-L6-v2, from its folder.
"""

import json
import sys
import time

import numpy as np


def graph(folder):
    """The model for onnxruntime, of the fused operations that its own optimizer would put in."""
    from onnx import TensorProto, helper, numpy_helper

    with open(f"{folder}/model.safetensors", "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = file.read()
    weights = {
        name: np.frombuffer(data[entry["data_offsets"][0] : entry["data_offsets"][1]], np.float32).reshape(entry["shape"])
        for name, entry in header.items()
        if name != "__metadata__" and entry["dtype"] == "F32"
    }
    with open(f"{folder}/config.json") as file:
        config = json.load(file)
    heads, epsilon = config["num_attention_heads"], config["layer_norm_eps"]
    nodes, constants = [], {}

    def constant(name, value):
        constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def node(operation, inputs, outputs, domain="com.microsoft", **attributes):
        nodes.append(helper.make_node(operation, inputs, outputs, domain=domain, **attributes))
        return outputs[0]

    names = ["word_embeddings.weight", "position_embeddings.weight", "token_type_embeddings.weight", "LayerNorm.weight", "LayerNorm.bias"]
    tables = [constant(name, weights[f"embeddings.{name}"]) for name in names]
    x = node("EmbedLayerNormalization", ["ids", "segments", *tables], ["embedded", "unused"], epsilon=epsilon)
    for layer in range(config["num_hidden_layers"]):

        def of(name):
            return weights[f"encoder.layer.{layer}.{name}"]

        def dense(name, x):
            return node("MatMul", [x, constant(f"{layer}.{name}.w", of(f"{name}.weight").T)], [f"{layer}.{name}"], domain="")

        def norm(name, x, skip):
            scale = [constant(f"{layer}.{name}.{part}", of(f"{name}.{part}")) for part in ("LayerNorm.weight", "LayerNorm.bias", "dense.bias")]
            return node("SkipLayerNormalization", [x, skip, *scale], [f"{layer}.{name}.out"], epsilon=epsilon)

        parts = [f"attention.self.{part}" for part in ("query", "key", "value")]
        w = constant(f"{layer}.qkv", np.concatenate([of(f"{part}.weight").T for part in parts], axis=1))
        b = constant(f"{layer}.qkv.bias", np.concatenate([of(f"{part}.bias") for part in parts]))
        attended = node("Attention", [x, w, b, "mask"], [f"{layer}.attention"], num_heads=heads)
        x = norm("attention.output", dense("attention.output.dense", attended), x)
        bias = constant(f"{layer}.intermediate.bias", of("intermediate.dense.bias"))
        middle = node("BiasGelu", [dense("intermediate.dense", x), bias], [f"{layer}.gelu"])
        x = norm("output", dense("output.dense", middle), x)
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT32, ["b", "s"]) for name in ("ids", "segments", "mask")]
    output = helper.make_tensor_value_info(x, TensorProto.FLOAT, ["b", "s", config["hidden_size"]])
    made = helper.make_graph(nodes, "bert", inputs, [output], list(constants.values()))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(made, opset_imports=opsets, ir_version=8).SerializeToString()


def onnxruntime(folder, threads):
    import onnxruntime
    from tokenizers import Tokenizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(graph(folder), options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    tokenizer.no_truncation()
    tokenizer.enable_padding()

    def embed(texts):
        encoded = tokenizer.encode_batch(texts)
        ids = np.array([text.ids for text in encoded], np.int32)
        mask = np.array([text.attention_mask for text in encoded], np.int32)
        (hidden,) = session.run(None, {"ids": ids, "segments": np.zeros_like(ids), "mask": mask})
        weight = mask[:, :, None].astype(np.float32)
        vectors = (hidden * weight).sum(1) / weight.sum(1)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    return embed


def sentence_transformers(folder, threads):
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    model = SentenceTransformer(folder, device="cpu")
    return lambda texts: model.encode(texts, batch_size=64, show_progress_bar=False)


def main():
    peer, folder, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    embed = {"onnxruntime": onnxruntime, "sentence-transformers": sentence_transformers}[peer](folder, threads)
    for line in sys.stdin:
        asked = json.loads(line)
        vectors = None
        begun = time.perf_counter()
        for _ in range(asked["times"]):
            vectors = embed(asked["texts"])
        spent = (time.perf_counter() - begun) * 1000 / asked["times"]
        print(json.dumps({"ms": spent, "first": [float(number) for number in vectors[0]]}), flush=True)


main()
