"""Models for deployment: `torch.export` and ONNX files, and how far they are from the model."""

from solq_model.export.inference import InferenceModule as InferenceModule
from solq_model.export.onnx_file import export_onnx as export_onnx
from solq_model.export.parity import Parity as Parity
from solq_model.export.parity import measure_parity as measure_parity
from solq_model.export.program import export_program as export_program
from solq_model.export.program import export_torch as export_torch
from solq_model.export.runtime import load_runtime as load_runtime
from solq_model.export.sampling import Sampling as Sampling
from solq_model.export.sampling import use_sampling as use_sampling
