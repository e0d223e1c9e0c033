"""Float models whose quantized files are compared with them."""

import onnx
import pytest
import torch

from analyses.quantized_support import MODELS, Mobile, Unet, export


@pytest.fixture(scope="module")
def sources() -> dict[str, onnx.ModelProto]:
    found = {
        name: onnx.load(MODELS / f"{name}.onnx")
        for name in ("digits_maxpool_cnn", "digits_mlp", "digits_resnet")
    }
    torch.manual_seed(1)
    found["unet"] = export(Unet(), torch.zeros(1, 1, 8, 8))
    found["mobilenet"] = export(Mobile(), torch.zeros(1, 1, 8, 8))
    return found
