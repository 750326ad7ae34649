"""What torch compiles and exports of the codec: the same numbers for every size of the batch."""

import io

import pytest
import torch

from solq_maskcodec import DCTMaskCodec, flip_horizontal

_CODEC = DCTMaskCodec(num_coefficients=64, mask_size=28)


class Encoder(torch.nn.Module):
    """Plain and refined vectors of masks."""

    def forward(self, masks):
        return _CODEC.encode(masks), _CODEC.encode(masks, refine=2)


class Decoder(torch.nn.Module):
    """Values of vectors, and masks by each threshold."""

    def forward(self, vectors):
        values = _CODEC.decode(vectors, None)
        return values, *(_CODEC.decode(vectors, rule) for rule in ("isodata", "midrange", 0.5))


@pytest.fixture
def masks(blobs):
    return torch.from_numpy(blobs(5, 28))


@pytest.fixture
def vectors(masks):
    return _CODEC.encode(masks).clone()


def assert_same(found, expected):
    """Equal masks, and numbers within 1e-4."""
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def assert_compiles(module, batch):
    expected, expected_of_three = module(batch), module(batch[:3])
    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend="aot_eager")
    assert_same(compiled(batch), expected)
    with torch._dynamo.config.patch(error_on_recompile=True):
        assert_same(compiled(batch[:3].clone()), expected_of_three)


def test_encode_compiles_to_one_graph_for_all_batches(masks):
    assert_compiles(Encoder(), masks)


def test_decode_compiles_to_one_graph_for_all_batches(vectors):
    assert_compiles(Decoder(), vectors)


def test_compiled_code_leaves_autocast_aside(vectors):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_compiles(Decoder(), vectors)


def test_a_codec_compiles_that_was_never_used_before(masks):
    codec = DCTMaskCodec(num_coefficients=63, mask_size=28)
    compiled = torch.compile(
        lambda given: codec.decode(codec.encode(given)), fullgraph=True, backend="aot_eager"
    )
    found = compiled(masks)
    assert_same(found, codec.decode(codec.encode(masks)))


def test_gradients_flow_through_compiled_code(masks):
    def loss(given):
        return _CODEC.decode(_CODEC.encode(given), None).square().sum()

    soft, plain = (masks.float().requires_grad_() for _ in range(2))
    torch.compile(loss, fullgraph=True, backend="aot_eager")(soft).backward()
    loss(plain).backward()
    torch.testing.assert_close(soft.grad, plain.grad, rtol=0, atol=1e-5)


def exported(module, batch):
    shapes = ({0: torch.export.Dim("batch")},)
    return torch.export.export(module.eval(), (batch,), dynamic_shapes=shapes).module()


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float16])
def test_encode_is_exported_for_all_batches(masks, dtype):
    batch = masks.to(dtype)
    program = exported(Encoder(), batch)
    for count in (1, 3):
        assert_same(program(batch[:count]), Encoder()(batch[:count]))


def test_decode_is_exported_for_all_batches(vectors):
    program = exported(Decoder(), vectors)
    for count in (1, 3):
        assert_same(program(vectors[:count]), Decoder()(vectors[:count]))


def test_an_export_under_autocast_gives_the_numbers_without(vectors):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        program = exported(Decoder(), vectors)
    assert_same(program(vectors), Decoder()(vectors))


def test_decoding_on_another_grid_is_exported(vectors):
    module = torch.nn.Module()
    module.forward = lambda given: _CODEC.decode(given, size=40)
    assert_same(exported(module, vectors)(vectors), _CODEC.decode(vectors, size=40))


def test_flips_are_exported(vectors):
    module = torch.nn.Module()
    module.forward = lambda given: flip_horizontal(_CODEC, given)
    assert_same(exported(module, vectors)(vectors), flip_horizontal(_CODEC, vectors))


def assert_runs_as_onnx(module, batch):
    """onnxruntime gives the same results for two sizes of the batch."""
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    program = torch.onnx.export(
        module.eval(),
        (batch,),
        dynamo=True,
        opset_version=18,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )
    file = io.BytesIO()
    program.save(file)
    session = runtime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    for count in (1, len(batch)):
        found = session.run(None, {given.name: batch[:count].numpy()})
        assert_same([torch.from_numpy(array) for array in found], module(batch[:count]))


def test_encode_runs_in_onnxruntime(masks):
    assert_runs_as_onnx(Encoder(), masks)


def test_decode_runs_in_onnxruntime(vectors):
    assert_runs_as_onnx(Decoder(), vectors)
