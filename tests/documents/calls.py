"""The calls whose documents are stored: names and command lines, and what makes the files that they read.

Paths are relative to the folder that `workspace.py` sets up: `models/` and `data/` are those of this
repository, `real/` is the folder of other people's files, `made/` holds what `INPUTS`, `DIGITS`, `TEXTS` and
`MADE` say, and `out/` what a call writes.

No call is to depend on how a processor sums: what is measured was pruned by magnitude or rescaled by powers
of two, and no file with quantized activations is run but with weights of 7 bits (`--reduce-range`), since
integer kernels without VNNI saturate on 8. A note tells where files differ by more than their networks may:
pairs whose bound is that close, which is so at the exact points of `--inputs`, are left out.
"""


def _table(text: str) -> dict[str, str]:
    """Lines `name: value`; a line that is indented goes on with the one before."""
    lines = text.strip().replace("\n    ", " ").splitlines()
    return dict(line.split(": ", 1) for line in lines)


# Arrays by file: the name of the input, and its shape. The numbers are of [0, 1].
INPUTS = {
    "made/tail.npz": ("x", (12, 4)),
    "made/cora.npz": ("fc_1_Input", (2, 784)),
    "made/factorio.npz": ("input", (6, 25)),
    "made/ece.npz": ("input", (1, 1, 96, 96)),
    "made/kw.npz": ("input", (2, 3, 32, 32)),
    "made/mnist.npz": ("Input3", (2, 1, 28, 28)),
    "made/avgpool.npz": ("input", (2, 1, 28, 28)),
    "made/collins.npz": ("imageinput", (2, 1, 20, 20)),
    "made/resnet20.npz": ("input.1", (1, 3, 32, 32)),
}
# How many of the held-out images.
DIGITS = {"made/digits.npz": 12, "made/few.npz": 4, "made/many.npz": 60}

# Files of text.
TEXTS = {
    "made/onnxpath.toml": """
[[check]]
name = "export"
a = "../models/digits_resnet.onnx"
b = "../models/digits_resnet_bn.onnx"
max-relative = "0.001%"

[[check]]
name = "int8"
a = "../models/digits_mlp.onnx"
b = "../models/digits_mlp_int8grid.onnx"
max-relative = "3%"
max-path-norm-increase = "1%"
low = 0
high = 1
max-bound = 1.5
"""
}

# Files that commands make from others.
MADE = _table("""
made/mlp_int8.onnx: quantize models/digits_mlp.onnx -o made/mlp_int8.onnx
made/mlp_static.onnx: quantize models/digits_mlp.onnx -o made/mlp_static.onnx --calibrate made/many.npz
    --reduce-range
made/cnn_int4.onnx: quantize models/digits_maxpool_cnn.onnx -o made/cnn_int4.onnx --bits 4
made/resnet_rescaled.onnx: rescale models/digits_resnet.onnx -o made/resnet_rescaled.onnx --seed 3
made/mlp_baseline.json: check models/digits_mlp.onnx models/digits_mlp_int8grid.onnx --max-relative 5%
    --low 0 --high 1 --baseline made/mlp_baseline.json --update-baseline
made/mnist_int8.onnx: quantize real/mnist_cntk.onnx -o made/mnist_int8.onnx
made/factorio_int8.onnx: quantize real/factorio_mlp_fp32.onnx -o made/factorio_int8.onnx
made/factorio_zero.onnx: quantize real/factorio_mlp_fp32.onnx -o made/factorio_zero.onnx --rounding zero
made/kw_int8.onnx: quantize real/cifar_deep_kw_simp.onnx -o made/kw_int8.onnx --granularity tensor
made/kw_half.onnx: prune real/cifar_deep_kw.onnx -o made/kw_half.onnx --sparsity 0.5 --criterion magnitude
made/avgpool_int4.onnx: quantize real/convnet_avgpool.onnx -o made/avgpool_int4.onnx --bits 4
made/collins_rescaled.onnx: rescale real/collins_rul_w20.onnx -o made/collins_rescaled.onnx
made/collins_half.onnx: prune real/collins_rul_w20.onnx -o made/collins_half.onnx --sparsity 0.5
    --criterion magnitude --scope layer
made/ece_24.onnx: prune real/ece_cnn_fp32.onnx -o made/ece_24.onnx --pattern 2:4 --criterion magnitude
made/resnet20_half.onnx: prune real/resnet20_cifar_bn.onnx -o made/resnet20_half.onnx --sparsity 0.5
    --criterion magnitude
made/resnet20_int8.onnx: quantize real/resnet20_cifar_bn.onnx -o made/resnet20_int8.onnx
made/resnet56_half.onnx: prune real/resnet56_c100_simdoc_p50.onnx -o made/resnet56_half.onnx --sparsity 0.6
    --criterion magnitude
made/unet_half.onnx: prune real/unet_small_sedgen.onnx -o made/unet_half.onnx --sparsity 0.3
    --criterion magnitude
made/slim_int8.onnx: quantize real/slim320_folded.onnx -o made/slim_int8.onnx
""")

SUPPORTED = [
    "cifar_deep_kw", "cifar_deep_kw_simp", "collins_rul_w20", "convnet_avgpool", "cora_mnist_point",
    "cora_mnist_trades", "drones_ac4_double", "ece_cnn_fp32", "factorio_mlp_fp32", "light_resnet50",
    "mnist_cntk", "resnet20_cifar_bn", "resnet56_c100_simdoc_p50", "slim320_bn", "slim320_folded",
    "unet_small_sedgen",
]  # fmt: skip
REFUSED = ["ece_cnn_int8_qdq", "factorio_mlp_dynquant", "qkeras_jettagging_qonnx", "resnet18_extdata_missing"]

# One file.
ONE = _table("""
inspect-resnet: inspect models/digits_resnet.onnx
inspect-resnet-keep-batchnorm: inspect models/digits_resnet_bn.onnx --keep-batchnorm
inspect-maxpool: inspect models/digits_maxpool_cnn.onnx --shape x=2x1x8x8
inspect-paths: inspect data/attack/A.onnx --paths
inspect-int8-weights: inspect made/mlp_int8.onnx
inspect-float16: inspect data/files/fp16_converter_keep_io.onnx
norm-resnet: norm models/digits_resnet.onnx --q 0,0.5,1,2,3 --per-output
norm-resnet-float64: norm models/digits_resnet.onnx --precision float64
norm-resnet-keep-batchnorm: norm models/digits_resnet_bn.onnx --keep-batchnorm --q 1
norm-mixed: norm models/digits_maxpool_cnn.onnx --q 1,2 --r inf --per-output
norm-two-outputs: norm data/attack/n_norm_out_1572_a.onnx --per-output
norm-one-output: norm data/attack/n_norm_out_36_a.onnx --per-output --output-name t10
norm-tail: norm data/files/tail_softmax.onnx --q 1 --per-output
lipschitz-one: lipschitz models/digits_resnet.onnx
generalization-mlp: generalization models/digits_mlp.onnx --samples 1347 --radius 0.1 --radius 0.5
generalization-resnet: generalization models/digits_resnet.onnx --samples 60000 --margin 2 --target 0.5
    --input-bound 3
generalization-maxpool: generalization models/digits_maxpool_cnn.onnx --samples 1347 --loss-lipschitz 1
""")

# Two files, and what is seen or proved of them.
PAIR = _table("""
metric-pruned: metric models/digits_resnet.onnx models/digits_resnet_pruned40.onnx --l2
metric-finetuned: metric models/digits_resnet.onnx models/digits_resnet_finetuned.onnx --l2 --input-bound 2
metric-finetuned-float64: metric models/digits_resnet.onnx models/digits_resnet_finetuned.onnx
    --precision float64
metric-batchnorm: metric models/digits_resnet.onnx models/digits_resnet_bn.onnx
metric-estimate: metric models/digits_mlp.onnx models/digits_mlp_int8grid.onnx --estimate 2000 --seed 5
metric-rescaled: metric models/digits_resnet.onnx made/resnet_rescaled.onnx
metric-int4: metric models/digits_maxpool_cnn.onnx made/cnn_int4.onnx
metric-static-int8: metric data/files/sat_float.onnx data/files/sat_qdq_u8s8.onnx
metric-mismatch: metric models/digits_mlp.onnx models/digits_maxpool_cnn.onnx
metric-float16: metric data/files/fp16_float.onnx data/files/fp16_converter_keep_io.onnx
lipschitz-pair: lipschitz models/digits_mlp.onnx models/digits_mlp_int8grid.onnx --input-bound 0.5
lipschitz-resnets: lipschitz models/digits_resnet.onnx models/digits_resnet_pruned40.onnx
bound-radius: bound models/digits_mlp.onnx models/digits_mlp_int8grid.onnx --radius 0.5 --search 3
bound-box: bound models/digits_resnet.onnx models/digits_resnet_pruned40.onnx --low 0 --high 1 --search 2
bound-box-norm1: bound models/digits_maxpool_cnn.onnx models/digits_maxpool_cnn_int8grid.onnx --low 0
    --high 1 --norm 1 --search 2
bound-inputs: bound models/digits_resnet.onnx models/digits_resnet_finetuned.onnx --inputs made/digits.npz
bound-inputs-margin: bound models/digits_mlp.onnx models/digits_mlp_int8grid.onnx --inputs made/many.npz
    --margin --confidence 0.95
bound-boxes: bound models/digits_resnet.onnx models/digits_resnet_finetuned.onnx --inputs made/few.npz
    --epsilon 0.02 --low 0 --high 1 --search 3 --norm 2
bound-compare: bound models/digits_mlp.onnx models/digits_mlp_int8grid.onnx --low 0 --high 1 --compare
    --search 0
bound-compare-maxpool: bound models/digits_maxpool_cnn.onnx models/digits_maxpool_cnn_int8grid.onnx
    --radius 1 --compare --search 0
bound-int8-weights: bound models/digits_mlp.onnx made/mlp_int8.onnx --low 0 --high 1 --search 2
bound-static: bound models/digits_mlp.onnx made/mlp_static.onnx --inputs made/few.npz --epsilon 0.01
    --search 0
bound-float64: bound models/digits_maxpool_cnn.onnx made/cnn_int4.onnx --low 0 --high 1 --search 0
    --precision float64
bound-keep-batchnorm: bound models/digits_resnet_bn.onnx models/digits_resnet_bn.onnx --keep-batchnorm
    --low 0 --high 1 --search 0
bound-tails: bound data/files/tail_logits.onnx data/files/tail_softmax.onnx --inputs made/tail.npz
bound-no-inputs: bound models/digits_mlp.onnx models/digits_mlp_int8grid.onnx --inputs made/absent.npz
compare-pruned: compare models/digits_resnet.onnx models/digits_resnet_pruned40.onnx --inputs made/many.npz
compare-other: compare models/digits_mlp.onnx models/digits_maxpool_cnn.onnx --seed 4 --low -1 --high 2
compare-tails: compare data/files/tail_logits.onnx data/files/tail_argmax.onnx --inputs made/tail.npz
compare-renamed: compare data/files/fp16_float.onnx data/files/fp16_converter_nodes_renamed.onnx
    --inputs made/digits.npz --file-option graph_optimization_level=disable_all
""")

# Inputs and the boxes around them.
CERTIFY = _table("""
certify-effort-0: certify models/digits_mlp.onnx models/digits_mlp_int8grid.onnx --inputs made/digits.npz
    --epsilon 0.01 --effort 0
certify-effort-1: certify models/digits_mlp.onnx models/digits_mlp_int8grid.onnx --inputs made/digits.npz
    --epsilon 0.02 --effort 1 --low 0 --high 1
certify-effort-2: certify models/digits_mlp.onnx models/digits_mlp_int8grid.onnx --inputs made/digits.npz
    --epsilon 0.03 --effort 2 --search 3
certify-effort-3: certify models/digits_mlp.onnx models/digits_mlp_int8grid.onnx --inputs made/few.npz
    --epsilon 0.05 --effort 3 --search 3
certify-tighten: certify models/digits_mlp.onnx made/mlp_int8.onnx --inputs made/few.npz --epsilon 0.01
    --tighten --search 2
certify-resnet: certify models/digits_resnet.onnx models/digits_resnet_finetuned.onnx --inputs made/few.npz
    --epsilon 0.005 --effort 1 --search 2
certify-maxpool: certify models/digits_maxpool_cnn.onnx made/cnn_int4.onnx --inputs made/few.npz
    --epsilon 0.01 --effort 1 --search 2 --min-agree 99%
certify-static: certify models/digits_mlp.onnx made/mlp_static.onnx --inputs made/few.npz --epsilon 0.005
    --search 0 --effort 1
""")

# Budgets.
CHECK = _table("""
check-passes: check models/digits_resnet.onnx models/digits_resnet_pruned40.onnx --max-relative 70%
    --max-metric 1e9 --max-path-norm-increase 1%
check-fails: check models/digits_resnet.onnx models/digits_resnet_finetuned.onnx --max-relative 0.1% --low 0
    --high 1 --max-bound 0.5 --norm 1
check-inputs: check models/digits_mlp.onnx models/digits_mlp_int8grid.onnx --inputs made/many.npz
    --max-difference 0.5 --max-flip-rate 20% --confidence 0.9
check-agree: check models/digits_mlp.onnx models/digits_mlp_int8grid.onnx --inputs made/digits.npz
    --epsilon 0.01 --min-agree 90% --max-bound 2
check-interface: check data/files/tail_logits.onnx data/files/tail_softmax.onnx --max-relative 1%
check-interface-allowed: check data/files/tail_logits.onnx data/files/tail_softmax.onnx --max-relative 1%
    --allow-interface-change tail
check-baseline: check models/digits_mlp.onnx models/digits_mlp_int8grid.onnx --max-relative 5% --low 0
    --high 1 --baseline made/mlp_baseline.json
check-configuration: check --config made/onnxpath.toml
""")

# What makes new files.
WRITE = _table("""
prune-path: prune models/digits_mlp.onnx -o out/mlp_path.onnx --sparsity 0.3 --sparsity 0.6 --low 0 --high 1
prune-magnitude: prune models/digits_resnet.onnx --sparsity 0.5 --criterion magnitude --scope layer
    --radius 1
prune-random: prune models/digits_mlp.onnx --sparsity 0.25 --criterion random --seed 2 --biases
prune-2-of-4: prune models/digits_resnet.onnx -o out/resnet_24.onnx --pattern 2:4
prune-channels: prune models/digits_maxpool_cnn.onnx -o out/cnn_channels.onnx --pattern channels
    --sparsity 0.25
prune-steps: prune models/digits_mlp.onnx --sparsity 0.5 --iterations 3 --outputs 0,3,7-9
prune-costs: prune models/digits_maxpool_cnn.onnx --costs out/costs.npz
prune-compare: prune models/digits_mlp.onnx --compare
quantize-int8: quantize models/digits_mlp.onnx -o out/mlp_int8.onnx --low 0 --high 1
quantize-int4-tensor: quantize models/digits_resnet.onnx --bits 4 --granularity tensor --rounding zero
quantize-equalize: quantize models/digits_mlp.onnx -o out/mlp_equal.onnx --equalize --granularity tensor
quantize-static: quantize models/digits_mlp.onnx -o out/mlp_static.onnx --calibrate made/many.npz
    --reduce-range
quantize-sweep: quantize models/digits_mlp.onnx --sweep --bits 4 --bits 8 --inputs made/digits.npz --low 0
    --high 1
quantize-budget: quantize models/digits_maxpool_cnn.onnx -o out/cnn_mixed.onnx --budget metric=5% --bits 4
    --bits 8 --bits 16
quantize-blame: quantize models/digits_mlp.onnx --blame --bits 4 --inputs made/digits.npz
rescale-random: rescale models/digits_resnet.onnx -o out/resnet_random.onnx --seed 1
rescale-normalize: rescale models/digits_maxpool_cnn.onnx -o out/cnn_normal.onnx --mode normalize
    --powers-of-two
rescale-equalize: rescale models/digits_mlp.onnx -o out/mlp_equalized.onnx --mode equalize --powers-of-two
""")

# Other people's files, and versions of them.
REAL_PAIRS = _table("""
metric-real-spellings: metric real/cifar_deep_kw.onnx real/cifar_deep_kw_simp.onnx
metric-real-folded: metric real/slim320_bn.onnx real/slim320_folded.onnx
metric-real-trainings: metric real/cora_mnist_point.onnx real/cora_mnist_trades.onnx
metric-real-mnist: metric real/mnist_cntk.onnx made/mnist_int8.onnx --l2
metric-real-collins-rescaled: metric real/collins_rul_w20.onnx made/collins_rescaled.onnx
metric-real-ece: metric real/ece_cnn_fp32.onnx made/ece_24.onnx
metric-real-ece-static: metric real/ece_cnn_fp32.onnx real/ece_cnn_int8_qdq.onnx
metric-real-factorio-dynamic: metric real/factorio_mlp_fp32.onnx real/factorio_mlp_dynquant.onnx
metric-real-resnet20: metric real/resnet20_cifar_bn.onnx made/resnet20_half.onnx
metric-real-resnet56: metric real/resnet56_c100_simdoc_p50.onnx made/resnet56_half.onnx
metric-real-unet: metric real/unet_small_sedgen.onnx made/unet_half.onnx
metric-real-slim: metric real/slim320_folded.onnx made/slim_int8.onnx
bound-real-factorio: bound real/factorio_mlp_fp32.onnx made/factorio_zero.onnx --low -1 --high 1 --search 3
bound-real-kw: bound real/cifar_deep_kw.onnx made/kw_half.onnx --inputs made/kw.npz --epsilon 0.01
    --search 1
bound-real-collins: bound real/collins_rul_w20.onnx made/collins_half.onnx --radius 1 --search 1
bound-real-avgpool: bound real/convnet_avgpool.onnx made/avgpool_int4.onnx --low 0 --high 1 --search 1
bound-real-resnet20: bound real/resnet20_cifar_bn.onnx made/resnet20_int8.onnx --inputs made/resnet20.npz
    --search 0
bound-real-ece: bound real/ece_cnn_fp32.onnx made/ece_24.onnx --inputs made/ece.npz --search 0
certify-real-factorio: certify real/factorio_mlp_fp32.onnx made/factorio_int8.onnx
    --inputs made/factorio.npz --epsilon 0.01 --search 2
certify-real-mnist: certify real/mnist_cntk.onnx made/mnist_int8.onnx --inputs made/mnist.npz
    --epsilon 0.002 --effort 1 --search 0
certify-real-avgpool: certify real/convnet_avgpool.onnx made/avgpool_int4.onnx --inputs made/avgpool.npz
    --epsilon 0.001 --effort 1 --search 1
certify-real-trainings: certify real/cora_mnist_point.onnx real/cora_mnist_trades.onnx
    --inputs made/cora.npz --epsilon 0.001 --effort 1 --search 0
check-real-kw: check real/cifar_deep_kw_simp.onnx made/kw_int8.onnx --max-relative 10% --inputs made/kw.npz
    --max-difference 1
compare-real-folded: compare real/collins_rul_w20.onnx made/collins_half.onnx --inputs made/collins.npz
lipschitz-real-avgpool: lipschitz real/convnet_avgpool.onnx made/avgpool_int4.onnx
generalization-real-resnet20: generalization real/resnet20_cifar_bn.onnx --samples 50000
""")

REAL = {
    **{f"inspect-real-{name}": f"inspect real/{name}.onnx" for name in SUPPORTED + REFUSED},
    **{f"norm-real-{name}": f"norm real/{name}.onnx --per-output" for name in SUPPORTED},
    **REAL_PAIRS,
}

CALLS = {**ONE, **PAIR, **CERTIFY, **CHECK, **WRITE, **REAL}
