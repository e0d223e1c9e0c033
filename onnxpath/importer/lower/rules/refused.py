"""Operators outside the model, and why: what the importer says of an operator that no rule lowers.

The model is a DAG of identity, ReLU and max-pool neurons joined by edges with weights (docs/theory.md,
section 1). Everything else is refused by name, because a number computed as if it were supported would bound
nothing.
"""

_ACTIVATION = (
    "{} is an activation other than ReLU: the path-metric is not defined there, although it has a Lipschitz"
    " constant"
)
_ATTENTION = "{} multiplies activations by activations, which no path of weights describes"
_STATISTICS = "{} normalizes with statistics of its own input, so that its weights are not constants"
_PRODUCT = "{} multiplies activations with each other, which no path of weights describes"
_NONLINEAR = "{} is neither linear nor a ReLU or a max-pool neuron"
_RECURRENT = "{} is a recurrent operator with gates; only feed-forward networks are supported"
_DISCRETE = "{} gives indices, counts or truth values, not a piecewise-linear function of the input"
_CONTROL = (
    "{} is control flow; only a static graph is supported (export the model with fixed shapes and without"
    " loops)"
)
_QUANTIZED = (
    "{} rounds activations, which no path of weights describes; 'metric', 'bound' and 'check' read the forms"
    " that docs/quantization.md lists"
)
_PACKED = (
    "{} is read where its weights are constants, in their own order (no g_idx), and its accuracy_level is"
    " below 4: at 4 ONNX Runtime rounds the input to 8 bits; write the weights as DequantizeLinear (the QDQ"
    " format, docs/quantization.md)"
)
_QONNX = "{} of QONNX is no quantizer with a step and a range; Quant is read (docs/quantization.md)"
_SELECTION = "{} selects elements by values or positions that the network computes"
_RANDOM = "{} draws random numbers; export the model for inference"
_TRANSFORM = "{} is a fixed transform that no rule lowers; write it as a MatMul with a constant matrix"

_FAMILIES = {
    _ACTIVATION: (
        "Sigmoid Tanh Elu Selu Celu Gelu Swish Mish HardSwish HardSigmoid Softplus Softsign Erf Sin Cos Tan"
        " Asin Acos Atan Sinh Cosh Asinh Acosh Atanh Abs Shrink Softmax LogSoftmax FastGelu QuickGelu"
        " BiasGelu SiLU"
    ),
    _ATTENTION: (
        "Attention MultiHeadAttention GroupQueryAttention RotaryEmbedding LinearAttention FlexAttention"
    ),
    _STATISTICS: (
        "LRN InstanceNormalization LayerNormalization GroupNormalization RMSNormalization"
        " SimplifiedLayerNormalization SkipLayerNormalization MeanVarianceNormalization LpNormalization"
    ),
    _PRODUCT: "Einsum DeformConv Bilinear",
    _NONLINEAR: (
        "Exp Log Sqrt Reciprocal Min ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp"
        " ReduceSumSquare LpPool GlobalLpPool Mod Floor Ceil Round Sign CumSum CumProd Det Hardmax BitShift"
    ),
    _RECURRENT: "LSTM GRU RNN",
    _DISCRETE: (
        "ArgMax ArgMin NonZero Equal Greater GreaterOrEqual Less LessOrEqual Not And Or Xor IsNaN IsInf"
        " OneHot Unique Shape Size"
    ),
    _CONTROL: (
        "If Loop Scan SequenceConstruct SequenceAt SequenceMap Optional OptionalGetElement ConcatFromSequence"
        " SplitToSequence"
    ),
    _QUANTIZED: (
        "QuantizeLinear DequantizeLinear DynamicQuantizeLinear QLinearConv QLinearMatMul QLinearAdd"
        " ConvInteger MatMulInteger Quant QLinearAveragePool QLinearGlobalAveragePool QLinearConcat"
        " QLinearLeakyRelu QGemm FusedMatMul"
    ),
    _PACKED: "MatMulNBits",
    _SELECTION: (
        "TopK NonMaxSuppression Where Compress GatherElements GatherND Scatter ScatterElements ScatterND"
        " TensorScatter RoiAlign MaxRoiPool MaxUnpool GridSample AffineGrid ReverseSequence"
    ),
    _RANDOM: "RandomNormal RandomNormalLike RandomUniform RandomUniformLike Multinomial Bernoulli",
    _TRANSFORM: "DFT STFT Col2Im Trilu EyeLike BlackmanWindow HannWindow HammingWindow MelWeightMatrix",
}

REASONS: dict[str, str] = {
    name: family.format(name) for family, names in _FAMILIES.items() for name in names.split()
}

DEFAULT_DOMAINS = ("", "ai.onnx")
QONNX = ("BipolarQuant", "Trunc")


def reason(op_type: str, domain: str = "") -> str:
    """One sentence for an operator that no rule lowers."""
    if op_type in REASONS and domain in (*DEFAULT_DOMAINS, "com.microsoft"):
        return REASONS[op_type]
    if op_type in QONNX and domain not in (*DEFAULT_DOMAINS, "com.microsoft"):
        return _QONNX.format(op_type)
    if domain not in DEFAULT_DOMAINS:
        return (
            f"{op_type} of domain {domain} is not a standard ONNX operator; re-export the model with"
            " operators of the default domain"
        )
    return (
        f"{op_type} is not among the supported operators: it is not known to be linear, a ReLU or a max-pool"
        " neuron"
    )
