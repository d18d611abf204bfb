"""What the machine has to compute with, found once and said in one line; and how to make it fast.

No notebook names a device: `choose_accelerator` looks, and `train` follows.

==============  ============================================================
found           what is used
==============  ============================================================
one NVIDIA GPU  XLA, memory taken as needed, 16-bit arithmetic by compute capability
several         the same on each; a batch is shared out among them, so its size stays what was asked
another GPU     float32 without XLA
none            the CPU without XLA (measured slower), convolutions in bfloat16 where the chip can
==============  ============================================================

`CNMC_PLAIN=1` sets all of it aside: whatever was found computes as Keras does by itself, in float32
without XLA. That is what the fast ways are checked against, and the way out where one fails.

On the CPU, Keras 3 computes batch normalisation and the steps of SGD from some ten elementary
operations each, every one of which reads and writes whole arrays. TensorFlow has one operation for
each; for batch normalisation it is also the one that oneDNN can fuse and compute in bfloat16.
Measured in `benchmarks/`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from helpers.settings import is_plain, processors

BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}
# What oneDNN may be held to that has no bfloat16: so a large chip computes as a laptop does.
NO_BFLOAT16 = {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI"}
_ISA = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")  # the second is the older name
_SWITCHES = ("TF_ENABLE_ONEDNN_OPTS", *_ISA, "TF_XLA_FLAGS", "NVIDIA_TF32_OVERRIDE")


@dataclass(frozen=True)
class Accelerator:
    """What training runs on.

    Args:
        kind: "GPU" or "CPU".
        devices: How many of them share a batch.
        policy: Keras dtype policy of the models: "float32", "mixed_float16" or "mixed_bfloat16".
        xla: Whether the training step is compiled by XLA.
        onednn_bfloat16: Whether oneDNN computes convolutions and products in bfloat16.
        threads: How many share an operation on a CPU.
        strategy: The `tf.distribute` strategy over the devices.
        note: All of this as one line for people.
    """

    kind: str
    devices: int
    policy: str
    xla: bool
    onednn_bfloat16: bool
    threads: int
    strategy: Any
    note: str

    @property
    def numerics(self) -> str:
        """What of it changes results: part of the key of a run."""
        bits = "onednn_bfloat16 convolutions" if self.onednn_bfloat16 else self.policy
        shares = f", {self.threads} threads" if self.kind == "CPU" else ""  # of each sum
        bits += ", XLA" if self.xla else ""
        return f"{self.kind} x {self.devices}, {bits}{shares}{_switches()}"

    @property
    def is_one_cpu(self) -> bool:
        """Whether it is a CPU that shares no batch: there the fast kernels and steps apply."""
        return self.kind == "CPU" and self.devices == 1 and not is_plain()

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Models built inside live on these devices, in this precision."""
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(self.policy)
        try:
            with self.strategy.scope():
                yield
        finally:
            keras.config.set_dtype_policy(before)


def choose_accelerator() -> Accelerator:
    """Finds the best that the machine has, all GPUs or else the CPU, and prepares it.

    Returns:
        The accelerator; its `note` says in one line what was chosen.
    """
    gpus = tf.config.get_visible_devices("GPU")
    for gpu in gpus:
        with suppress(RuntimeError):  # too late, where a GPU is in use already
            tf.config.experimental.set_memory_growth(gpu, True)
    kind = "GPU" if gpus else "CPU"
    names = tuple(device.name for device in tf.config.list_logical_devices(kind))
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    # Tensor cores for 16 bits came with capability 7.0; the policy is one that all compute fast.
    known = [] if is_plain() else [d.get("compute_capability", (0, 0)) for d in details]
    capability = min(known, default=(0, 0))
    policy, xla = precision_for(capability), capability > (0, 0)
    onednn = not gpus and not is_plain() and cpu_has_bfloat16()
    if onednn:
        _use_onednn_bfloat16()
    cores = processors()  # that a container or the user's bounds leave, not those of the machine
    with suppress(RuntimeError):  # too late, where TensorFlow has computed already
        if cores < (os.cpu_count() or 1) and not _threads_told():
            tf.config.threading.set_intra_op_parallelism_threads(cores)
    threads = _threads_told() or cores
    strategy = _mirror(names) if len(names) > 1 else tf.distribute.get_strategy()
    bits = "oneDNN in bfloat16" if onednn else policy
    cpu = f"CPU of {cores} cores" if threads == cores else f"CPU, {threads} of {cores} cores"
    device = details[0].get("device_name", "GPU") if gpus else cpu
    note = f"{len(names)} x {device}, {bits}, {'XLA' if xla else 'no XLA'}{_switches()}"
    return Accelerator(kind, len(names), policy, xla, onednn, threads, strategy, note)


def _switches() -> str:
    """Names the environment variables that are set and change what TensorFlow computes."""
    told = [f", {name}={os.environ[name]}" for name in _SWITCHES if os.environ.get(name)]
    return "".join([*told, ", CNMC_PLAIN=1" if is_plain() else ""])


def _threads_told() -> int:
    own = os.environ.get("TF_NUM_INTRAOP_THREADS", "")  # TensorFlow's, which it does not return
    told = tf.config.threading.get_intra_op_parallelism_threads()
    return told or (int(own) if own.isdecimal() else 0)


def precision_for(capability: tuple[int, int]) -> str:
    """Names the Keras dtype policy for an NVIDIA compute capability, (0, 0) if it is not known.

    From 8.0 on there is bfloat16, which needs no loss scaling.

    Example:
        >>> precision_for((7, 5)), precision_for((9, 0))
        ('mixed_float16', 'mixed_bfloat16')
    """
    if capability >= (8, 0):
        return "mixed_bfloat16"
    return "mixed_float16" if capability >= (7, 0) else "float32"


def _use_onednn_bfloat16() -> None:
    # Dense layers stay in float32: else the probabilities are rounded to 8 bits, which ties
    # most images, and their time is nothing beside that of the convolutions.
    # TensorFlow reads this each time that it chooses what to compute in 16 bits.
    os.environ["TF_AUTO_MIXED_PRECISION_GRAPH_REWRITE_ALLOWLIST_REMOVE"] = "MatMul"
    tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": True})


def cpu_has_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Says whether the processor multiplies bfloat16 itself; emulated, it would be slower.

    `cpuinfo` is the system's description of its processors; where there is none, the answer is no.
    """
    if not cpuinfo.is_file() or NO_BFLOAT16 & {os.environ.get(n, "").upper() for n in _ISA}:
        return False
    flags = (line for line in cpuinfo.read_text().splitlines() if line.startswith("flags"))
    return not BFLOAT16_FLAGS.isdisjoint(next(flags, "").split())


@cache
def _mirror(names: tuple[str, ...]) -> Any:
    """One per process: a second one would mix up its sums with those of the first."""
    return tf.distribute.MirroredStrategy(list(names))


def use_fast_kernels(model: keras.Model) -> None:
    """Lets the batch normalisations of a network compute by TensorFlow's fused operation.

    Only the function that a layer computes by is replaced, on the layer itself: its class, name,
    variables and configuration stay those of `keras.layers.BatchNormalization`, and so does the
    saved file. A copy or a loaded network computes as Keras does until it is asked again.

    Args:
        model: Any Keras model on the TensorFlow backend; call before `compile`. The results are
            the same but for rounding: oneDNN adds the values of a batch one after the other in
            float32, so that variances come out with some 1e-4 of error, another for each number
            of threads. A normalisation over another axis than the last of four, of statistics
            shared between devices, with renormalisation, or in 16 bits stays as it is.
    """
    for layer in model._flatten_layers():
        if _is_suitable(layer):
            layer.call = partial(_normalise, layer)


def _is_suitable(layer: keras.layers.Layer) -> bool:
    if type(layer) is not keras.layers.BatchNormalization or layer.renorm or layer.synchronized:
        return False
    usual = layer.built and layer.compute_dtype == "float32"
    return usual and layer.input_spec.ndim == 4 and layer.axis in (-1, 3)


def _normalise(
    layer: keras.layers.BatchNormalization, inputs: Any, training: Any = None, mask: Any = None
) -> tf.Tensor:
    """Computes what `BatchNormalization.call` does, and moves the statistics as it does.

    While it learns, the operation takes mean and variance from the batch, else from the layer.
    """
    if mask is not None:
        return type(layer).call(layer, inputs, training=training, mask=mask)
    learns, width = bool(training and layer.trainable), inputs.shape[-1]
    empty = tf.constant([], tf.float32)
    result = tf.raw_ops.FusedBatchNormV3(
        x=tf.convert_to_tensor(inputs),
        scale=layer.gamma.value if layer.scale else tf.ones(width),
        offset=layer.beta.value if layer.center else tf.zeros(width),
        mean=empty if learns else layer.moving_mean.value,
        variance=empty if learns else layer.moving_variance.value,
        epsilon=layer.epsilon,
        is_training=learns,
    )
    if learns:
        _follow(layer, inputs, result.batch_mean, result.batch_variance)
    return result.y


def _follow(
    layer: keras.layers.BatchNormalization, inputs: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor
) -> None:
    """Moves the statistics; the fused operation divides the variance by n - 1, Keras by n."""
    count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:3]), tf.float32)
    variance = variance * (count - 1) / count
    for moving, new in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        moving.assign(moving.value * layer.momentum + new * (1 - layer.momentum))


def keep_on_one_device(optimizer: keras.optimizers.Optimizer) -> None:
    """Spares an optimizer the sum of its gradients over devices, where there is only one.

    Keras asks `tf.distribute` for that sum even then. The answer is the gradients as they are, but
    TensorFlow takes down how to derive it in a register that is never emptied, and with it the
    graph and all that the graph holds: every training would keep its weights until the process
    ends (measured: 130 MB for each of the proposed network).

    Args:
        optimizer: Any Keras optimizer on the TensorFlow backend; call before `compile`.
    """
    optimizer._all_reduce_sum_gradients = list  # the pairs of gradient and variable, as they are


def use_fast_steps(optimizer: keras.optimizers.Optimizer) -> None:
    """Lets SGD with momentum take its steps by TensorFlow's fused operation, on one device.

    As above, only the function is replaced, and variables and configuration stay those of Keras.

    Args:
        optimizer: Any Keras optimizer on the TensorFlow backend; call before `compile`. Anything
            but `keras.optimizers.SGD` with momentum stays as it is.
    """
    if type(optimizer) is keras.optimizers.SGD and optimizer.momentum != 0:
        optimizer.update_step = partial(_step, optimizer)


def _step(
    optimizer: keras.optimizers.SGD, gradient: tf.Tensor, variable: tf.Variable, rate: tf.Tensor
) -> None:
    """Computes what `SGD.update_step` does."""
    speed = optimizer.momentums[optimizer._get_variable_index(variable)].value
    tf.raw_ops.ResourceApplyKerasMomentum(
        var=variable.handle,
        accum=speed.handle,
        lr=tf.cast(rate, variable.dtype),
        grad=tf.cast(gradient, variable.dtype),
        momentum=tf.cast(optimizer.momentum, variable.dtype),
        use_nesterov=optimizer.nesterov,
    )
