"""A second look, at the mirror image, where the first leaves doubt: inside an ONNX file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto


# A calibrated probability. Answers below it are looked at twice. On CelebA one validation image in
# nine is, and no label differs from that of two looks at every image (bench/predict.py).
SURE = 0.98


_AGAIN, _OURS = "again_", "doubt_"  # what names begin with: the second look's, and those between


_BEFORE_THE_FIRST = np.iinfo(np.int64).min  # where Slice ends that goes backwards to the start


_Maker = Callable[..., "NodeProto"]


def look_again(model: ModelProto, *, pixels: str, probabilities: str, sure: float = SURE) -> None:
    """Make a model that looks once look again where its highest probability is below `sure`.

    From its input `pixels` (n, height, width, 3) it makes its output `probabilities`, the softmax
    of logits that are divided by the temperature already. It is changed in place; weights are held
    once. `sure` goes from 0 (never look again) to above 1 (look twice at every image). Raises
    ValueError where the output is not a softmax.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    first = [node for node in graph.node if probabilities not in node.output]
    last = [node for node in graph.node if probabilities in node.output]
    if [node.op_type for node in last] != ["Softmax"]:
        raise ValueError(f"{probabilities!r} is not the output of a softmax")
    names = {name: _AGAIN + name for node in first for name in node.output}
    names[pixels] = _OURS + "mirrored"
    again = [_copy(node, names) for node in first]
    logits = last[0].input[0]
    last[0].output[0] = _OURS + "first"

    constants = {
        "sure": np.float32(sure),
        "column": np.array([1], np.int64),
        "line": np.array([-1], np.int64),
        "across": np.array([2], np.int64),
        "half": np.float32(0.5),
        "right": np.array([-1], np.int64),
        "left": np.array([_BEFORE_THE_FIRST], np.int64),
    }
    for name, value in constants.items():
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), _OURS + name))

    def node(kind: str, output: str, *inputs: str, **how: Any) -> NodeProto:
        return helper.make_node(kind, list(inputs), [output], name=_OURS + output, **how)

    graph.node.extend(_doubtful(node, pixels))
    graph.node.extend(again)
    graph.node.extend(_averaged(node, logits, names[logits], probabilities))
    del graph.value_info[:]  # shapes of the first look; the second has as many rows as are in doubt


def _copy(node: NodeProto, names: dict[str, str]) -> NodeProto:
    """The same operation on the second look's tensors; weights keep their names."""
    from onnx import NodeProto

    found = NodeProto()
    found.CopyFrom(node)
    found.name = _AGAIN + node.name
    found.input[:] = [names.get(name, name) for name in node.input]
    found.output[:] = [names[name] for name in node.output]
    return found


def _doubtful(node: _Maker, pixels: str) -> list[NodeProto]:
    """Which rows are in doubt, and the mirror images of their pictures."""
    a = partial(str.__add__, _OURS)
    return [
        node("ReduceMax", a("highest"), a("first"), a("column"), keepdims=0),
        node("Less", a("doubt"), a("highest"), a("sure")),
        node("NonZero", a("places"), a("doubt")),
        node("Reshape", a("rows"), a("places"), a("line")),
        node("Gather", a("pictures"), pixels, a("rows"), axis=0),
        node("Slice", a("mirrored"), a("pictures"), a("right"), a("left"), a("across"), a("right")),
    ]


def _averaged(node: _Maker, logits: str, others: str, probabilities: str) -> list[NodeProto]:
    """The mean of both looks' logits where there are two, and the probabilities of all."""
    a = partial(str.__add__, _OURS)
    return [
        node("Gather", a("own"), logits, a("rows"), axis=0),
        node("Add", a("sum"), a("own"), others),
        node("Mul", a("mean"), a("sum"), a("half")),
        node("Unsqueeze", a("indices"), a("rows"), a("column")),
        node("ScatterND", a("logits"), logits, a("indices"), a("mean")),
        node("Softmax", probabilities, a("logits"), axis=-1),
    ]
