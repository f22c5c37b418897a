"""A second pass, of the mirror image, where the first is in doubt: inside an ONNX file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto


# A calibrated probability. Answers below it have a second pass. On CelebA one validation image in
# nine has, and no label differs from that of two passes for all (bench/predict.py).
SURE = 0.98


_SECOND_PREFIX, _PREFIX = "again_", "doubt_"  # of names: in the second pass, and around it


_SLICE_END = np.iinfo(np.int64).min  # the end of a backwards Slice to the start


_MakeNode = Callable[..., "NodeProto"]


def add_mirror(model: ModelProto, *, pixels: str, probabilities: str, sure: float = SURE) -> None:
    """Add a second pass to a model, in place, where its highest probability is below `sure`.

    Its input is `pixels` (n, height, width, 3), its output `probabilities`, the softmax of logits
    that are already divided by the temperature. Weights are shared. `sure` goes from 0 (never) to
    above 1 (always). Raises ValueError where the output is not a softmax.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    first_nodes = [node for node in graph.node if probabilities not in node.output]
    last_nodes = [node for node in graph.node if probabilities in node.output]
    if [node.op_type for node in last_nodes] != ["Softmax"]:
        raise ValueError(f"{probabilities!r} is not the output of a softmax")
    names = {name: _SECOND_PREFIX + name for node in first_nodes for name in node.output}
    names[pixels] = _PREFIX + "mirrored"
    second_nodes = [_copy(node, names) for node in first_nodes]
    logits = last_nodes[0].input[0]
    last_nodes[0].output[0] = _PREFIX + "first"

    constants = {
        "sure": np.float32(sure),
        "column": np.array([1], np.int64),
        "line": np.array([-1], np.int64),
        "across": np.array([2], np.int64),
        "half": np.float32(0.5),
        "right": np.array([-1], np.int64),
        "left": np.array([_SLICE_END], np.int64),
    }
    for name, value in constants.items():
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), _PREFIX + name))

    def node(kind: str, output: str, *inputs: str, **attributes: Any) -> NodeProto:
        return helper.make_node(kind, list(inputs), [output], name=_PREFIX + output, **attributes)

    graph.node.extend(_select_doubtful(node, pixels))
    graph.node.extend(second_nodes)
    graph.node.extend(_average(node, logits, names[logits], probabilities))
    del graph.value_info[:]  # shapes of the first pass; the second has fewer rows


def _copy(node: NodeProto, names: dict[str, str]) -> NodeProto:
    """The same operation on the second pass's tensors; weights keep their names."""
    from onnx import NodeProto

    copied = NodeProto()
    copied.CopyFrom(node)
    copied.name = _SECOND_PREFIX + node.name
    copied.input[:] = [names.get(name, name) for name in node.input]
    copied.output[:] = [names[name] for name in node.output]
    return copied


def _select_doubtful(node: _MakeNode, pixels: str) -> list[NodeProto]:
    """Select the rows in doubt, and mirror their images."""
    p = partial(str.__add__, _PREFIX)
    return [
        node("ReduceMax", p("highest"), p("first"), p("column"), keepdims=0),
        node("Less", p("doubt"), p("highest"), p("sure")),
        node("NonZero", p("places"), p("doubt")),
        node("Reshape", p("rows"), p("places"), p("line")),
        node("Gather", p("pictures"), pixels, p("rows"), axis=0),
        node("Slice", p("mirrored"), p("pictures"), p("right"), p("left"), p("across"), p("right")),
    ]


def _average(node: _MakeNode, logits: str, mirrored: str, probabilities: str) -> list[NodeProto]:
    """Average both passes' logits where there are two; the probabilities of all."""
    p = partial(str.__add__, _PREFIX)
    return [
        node("Gather", p("own"), logits, p("rows"), axis=0),
        node("Add", p("sum"), p("own"), mirrored),
        node("Mul", p("mean"), p("sum"), p("half")),
        node("Unsqueeze", p("indices"), p("rows"), p("column")),
        node("ScatterND", p("logits"), logits, p("indices"), p("mean")),
        node("Softmax", probabilities, p("logits"), axis=-1),
    ]
