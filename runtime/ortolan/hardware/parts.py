"""Names of processor designs, and the instruction-set extensions worth knowing."""

from __future__ import annotations

ARM_PARTS = {
    ("0x41", part): name
    for part, name in {
        "0xc07": "Cortex-A7",
        "0xc09": "Cortex-A9",
        "0xc0f": "Cortex-A15",
        "0xd03": "Cortex-A53",
        "0xd04": "Cortex-A35",
        "0xd05": "Cortex-A55",
        "0xd07": "Cortex-A57",
        "0xd08": "Cortex-A72",
        "0xd09": "Cortex-A73",
        "0xd0a": "Cortex-A75",
        "0xd0b": "Cortex-A76",
        "0xd0c": "Neoverse-N1",
        "0xd0d": "Cortex-A77",
        "0xd40": "Neoverse-V1",
        "0xd41": "Cortex-A78",
        "0xd42": "Cortex-A78AE",
        "0xd44": "Cortex-X1",
        "0xd46": "Cortex-A510",
        "0xd47": "Cortex-A710",
        "0xd49": "Neoverse-N2",
        "0xd4d": "Cortex-A715",
        "0xd4f": "Neoverse-V2",
        "0xd80": "Cortex-A520",
        "0xd81": "Cortex-A720",
    }.items()
}
"""(implementer, part) of /proc/cpuinfo -> design. Source: util-linux, sys-utils/lscpu-arm.c."""

FEATURES = frozenset(
    {
        # Arm: vectors, half precision, dot products, matrix products
        *("neon", "asimd", "fphp", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme"),
        # x86: vectors, half precision, integer dot products, matrix tiles
        *("avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "avx512_bf16"),
        *("amx_tile", "amx_int8", "amx_bf16"),
    }
)
"""Extensions that onnxruntime's kernels choose by, as the kernel spells them in /proc/cpuinfo."""

TEGRA_GPUS = {
    "tegra210": "NVIDIA Maxwell GPU (Tegra X1)",
    "tegra186": "NVIDIA Pascal GPU (Tegra X2)",
    "tegra194": "NVIDIA Volta GPU (Xavier)",
    "tegra234": "NVIDIA Ampere GPU (Orin)",
    "tegra264": "NVIDIA Blackwell GPU (Thor)",
}
"""System on chip -> its GPU. Source: NVIDIA Jetson module data sheets."""
