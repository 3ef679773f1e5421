"""The ONNX graph of a transformer, which torch exports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ortolan.errors import UnsupportedError
from ortolan_convert.messages import one_line
from ortolan_convert.sources.huggingface.sentence_head import pooled
from ortolan_convert.sources.huggingface.transformer import MASK, SAME, mask_of
from ortolan_convert.sources.pytorch.quiet import quiet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import onnx

    from ortolan_convert.sources.huggingface.transformer import Transformer

OPSET = 20
"""Its Gelu and LayerNormalization keep the graph small, and onnxruntime 1.20 runs it."""


def exported_transformer(transformer: Transformer) -> onnx.ModelProto:
    """A model as an ONNX graph with free dimensions ``batch`` and ``sequence``, weights inside.

    Raises:
        UnsupportedError: torch cannot export it, or what it exports needs too new an opset.
    """
    import torch

    ids = torch.arange(14).reshape(2, 7) % transformer.vocabulary
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    tensors = {"input_ids": ids, MASK: mask, "token_type_ids": torch.zeros_like(ids)}
    example = tuple(tensors[name] for name in transformer.inputs)
    module = _traced_as_asked(transformer, example)
    batch, sequence = torch.export.Dim("batch", min=1), torch.export.Dim("sequence", min=1, max=transformer.max_length)
    shapes = {"fed": tuple({0: batch, 1: sequence} for _ in example)}
    model = exported(transformer.source.path, module, example, (transformer.inputs, transformer.outputs), shapes)
    for spec in model.graph.input:
        if any(dim.HasField("dim_value") for dim in spec.type.tensor_type.shape.dim):
            name = type(transformer.model).__name__
            raise UnsupportedError(f"{transformer.source.path}: torch exports {name} for texts of one length only")
    return model


def exported(
    where: Path, module: Any, example: tuple[Any, ...], names: tuple[Sequence[str], Sequence[str]], shapes: Any
) -> onnx.ModelProto:
    """A torch module as an ONNX graph, weights inside.

    Args:
        where: for messages.
        module: the module.
        example: what it is called with.
        names: of its inputs and of its outputs.
        shapes: free dimensions, as ``torch.onnx.export`` takes them.

    Raises:
        UnsupportedError: torch cannot export it.
    """
    import torch

    with quiet():
        try:
            program = torch.onnx.export(
                module,
                example,
                dynamo=True,
                opset_version=OPSET,
                input_names=list(names[0]),
                output_names=list(names[1]),
                dynamic_shapes=shapes,
                optimize=True,
                verbose=False,
            )
        except Exception as error:
            reason = one_line(error.__cause__ or error)
            raise UnsupportedError(f"{where}: torch cannot export the model to ONNX: {reason}") from error
    if program is None:
        raise UnsupportedError(f"{where}: torch exported nothing")
    model: onnx.ModelProto = program.model_proto
    return model


def _traced_as_asked(transformer: Transformer, example: tuple[Any, ...]) -> Any:
    """The module to export, with the mask in the cheapest form that gives the model's own answers.

    Raises:
        UnsupportedError: the model fails.
    """
    module = _traced(transformer, added=False).eval()
    expected = _first_output(transformer, module, example)
    if MASK not in transformer.inputs:
        return module
    cheaper = _traced(transformer, added=True).eval()
    try:
        found = _first_output(transformer, cheaper, example)
    except UnsupportedError:
        return module
    if found.shape != expected.shape:
        return module
    if found.ndim == 3:  # padding's own numbers do not matter
        kept = example[transformer.inputs.index(MASK)].bool()
        found, expected = found[kept], expected[kept]
    scale = max(1.0, float(expected.abs().max()))
    return cheaper if float((found - expected).abs().max()) <= SAME * scale else module


def _first_output(transformer: Transformer, module: Any, example: tuple[Any, ...]) -> Any:
    import torch

    try:
        with torch.inference_mode(), quiet():
            found = module(*example)
    except Exception as error:
        name, reason = type(transformer.model).__name__, one_line(error)
        raise UnsupportedError(f"{transformer.source.path}: {name} does not take plain texts: {reason}") from error
    return found[0] if isinstance(found, tuple) else found


def _traced(transformer: Transformer, *, added: bool) -> Any:
    """The module to export.

    Args:
        transformer: the model.
        added: whether the mask is given in the form that attention adds, which spares the twenty operators of the
            library's own way to make it; not all models take it.
    """
    import torch

    source, inputs = transformer.source, transformer.inputs

    class Traced(torch.nn.Module):  # type: ignore[misc]  # torch is optional, and so without types
        """The model with the outputs that the task names."""

        def __init__(self) -> None:
            super().__init__()
            self.model = transformer.model
            self.head = transformer.head

        def forward(self, *fed: Any) -> Any:
            named = dict(zip(inputs, fed, strict=True))
            mask = mask_of(named)
            if added:
                numbers = mask[:, None, None, :].to(torch.float32)
                named[MASK] = (1.0 - numbers) * torch.finfo(torch.float32).min
            found = self.model(**named)
            if source.task == "text-classification":
                return found.logits, torch.softmax(found.logits, dim=-1)
            if source.head is None:
                return found.logits
            if source.head.pooling is None:
                return self.head(pooled(found.last_hidden_state, mask, source.head.poolings))
            return found.last_hidden_state

    return Traced()
