"""From operators to the coefficients of the step time: what was fitted is added here."""

from __future__ import annotations

import numpy as np

from headrace.hardware.gpu import Gpu
from headrace.models.facts import STATE_BYTES, ModelFacts
from headrace.perf.calibration import Calibration
from headrace.perf.config import EngineConfig
from headrace.perf.constants import Constants, Step
from headrace.perf.gemm import Floats
from headrace.perf.gemm_kernels import load_gemm_kernels
from headrace.perf.graphs import captured_tokens
from headrace.perf.kernels import TOKENS
from headrace.perf.operators import TOKEN_GRID, Operators, count
from headrace.perf.step import StepModel

LARGE_TOKENS = 512
"""From here on GEMMs run quicker back to back than alone, as tables measured them."""


def step_model(
    facts: ModelFacts, gpu: Gpu, config: EngineConfig, constants: Constants
) -> StepModel:
    """The step time of one replica. Raises LookupError where no calibration covers the engine."""
    operators = count(facts, gpu, config, constants.kernels_of(gpu))
    calibration = constants.calibration_of(config.version, facts, gpu, deep_gemm=config.deep_gemm)
    here = calibration.on_host(gpu.host_time, facts.layers)
    return assemble(operators, config, constants.step, here)


def assemble(
    operators: Operators, config: EngineConfig, step: Step, calibration: Calibration
) -> StepModel:
    """Operators of one replica, with the step's overheads and the engine's host around them."""
    kappa, o, mtp_depth = calibration.kernel_time, operators, config.mtp_depth
    grid, gemm_s, head_s = _gemms(o, step, calibration, config.linear_backend)
    launches_s = o.gemms * step.gemm_extra_s + step.moe_launches * o.moe_launch_s
    latency_s = o.all_reduces * (o.all_reduce_latency_s + step.all_reduce_extra_s)
    first_draft_s, next_draft_s = _line(kappa * o.draft_s)
    two_kernels = mtp_depth == 0 and STATE_BYTES[config.state_dtype] == 2
    drafted_state = calibration.drafted_state if mtp_depth else 1.0
    slowed = 1.0 if config.dummy_weights else calibration.real_gemm
    return StepModel(
        verified=1 + mtp_depth,
        grid=grid,
        gemm_s=tuple((kappa * (slowed * gemm_s + launches_s)).tolist()),
        head_s=tuple((kappa * head_s).tolist()),
        sample_s_per_row=kappa * o.sample_s_per_row,
        attention_s=kappa * o.attention_s,
        attention_s_per_context_token=kappa * o.attention_s_per_context_token,
        attention_waves_per_sequence=o.attention_waves_per_sequence,
        state_s_per_sequence=kappa * drafted_state * o.state_s_per_sequence,
        prefill_attention_s_per_context_token=kappa * o.prefill_attention_s_per_context_token,
        prefill_state_s_per_token=kappa * o.prefill_state_s_per_token,
        elementwise_s_per_token=kappa * o.elementwise_s_per_token,
        collective_s=kappa * latency_s,
        collective_s_per_token=kappa * step.all_reduce_bytes * o.all_reduce_s_per_token,
        draft_s=mtp_depth * (calibration.draft_launch_s + first_draft_s),
        draft_s_per_sequence=mtp_depth * (next_draft_s + kappa * o.sample_s_per_row),
        host_s=calibration.step_s,
        host_s_per_sequence=calibration.sequence_s,
        mixed_s=calibration.mixed_s,
        launch_s=calibration.launch_s,
        piecewise_s=calibration.piecewise_s,
        unpadded_gemm=calibration.unpadded_gemm,
        mixed_state=calibration.mixed_state if two_kernels else 1.0,
        captured=captured_tokens(config),
    )


def _gemms(
    o: Operators, step: Step, calibration: Calibration, linear_backend: str
) -> tuple[tuple[float, ...], Floats, Floats]:
    """Numbers of tokens, and seconds there of the layers' GEMMs and of the LM head."""
    name = calibration.gemm_of(linear_backend)
    if name is not None:
        kernel = load_gemm_kernels()[name]
        moe_s, head_s = (np.interp(kernel.grid, TOKENS, each) for each in (o.moe_s, o.head_s))
        return kernel.grid, kernel.seconds(o.gemm_s) + moe_s, head_s
    large_gemm = calibration.large_gemm or step.large_gemm
    large = np.where(TOKEN_GRID >= LARGE_TOKENS, large_gemm, 1.0)
    return TOKENS, large * o.gemm_s + o.moe_s, o.head_s


def _line(seconds: Floats) -> tuple[float, float]:
    """A pass over the MTP layers as a floor, and a slope: that of the curve's last piece."""
    slope = (seconds[-1] - seconds[-2]) / (TOKENS[-1] - TOKENS[-2])
    return float(seconds[0]), float(slope)
