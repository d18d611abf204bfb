"""Batch normalisation and the steps of SGD in one pass on the CPU.

Keras 3 computes both on TensorFlow from some ten elementary operations, each of which reads and
writes whole arrays. TensorFlow has one operation for each; for batch normalisation it is also the
one that oneDNN can fuse and compute in bfloat16. Measured in `benchmarks/`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
import tensorflow as tf


def use_fast_kernels(model: keras.Model) -> int:
    """Lets the batch normalisations of a network compute by TensorFlow's fused operation.

    Only the function that a layer computes by is replaced, on the layer itself: its class, name,
    variables and configuration stay those of `keras.layers.BatchNormalization`, and so does the
    saved file. A copy or a loaded network computes as Keras does until it is asked again.

    Args:
        model: Any Keras model on the TensorFlow backend; call before `compile`. The results are
            the same but for rounding: oneDNN adds the values of a batch one after the other in
            float32, so that variances come out with some 1e-4 of error, another for each number
            of threads.

    Returns:
        How many layers were changed. A normalisation over another axis than the last of four, of
        statistics shared between devices, with renormalisation, or in 16 bits stays as it is.
    """
    changed = [layer for layer in model._flatten_layers() if _is_suitable(layer)]
    for layer in changed:
        layer.call = partial(_normalise, layer)
    return len(changed)


def _is_suitable(layer: keras.layers.Layer) -> bool:
    return (
        type(layer) is keras.layers.BatchNormalization
        and layer.built
        and layer.input_spec.ndim == 4
        and layer.axis in (-1, 3)
        and layer.compute_dtype == "float32"
        and not (layer.renorm or layer.synchronized)
    )


def _normalise(
    layer: keras.layers.BatchNormalization,
    inputs: tf.Tensor,
    training: bool | None = None,
    mask: Any = None,
) -> tf.Tensor:
    """Computes what `BatchNormalization.call` does, and moves the statistics as it does."""
    if mask is not None:
        return type(layer).call(layer, inputs, training=training, mask=mask)
    learns = bool(training and layer.trainable)
    result = _fused(layer, tf.convert_to_tensor(inputs), learns)
    if learns:
        _follow(layer, inputs, result.batch_mean, result.batch_variance)
    return result.y


def _fused(layer: keras.layers.BatchNormalization, inputs: tf.Tensor, learns: bool) -> Any:
    width = inputs.shape[-1]
    empty = tf.constant([], tf.float32)
    return tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=layer.gamma.value if layer.scale else tf.ones(width),
        offset=layer.beta.value if layer.center else tf.zeros(width),
        mean=empty if learns else layer.moving_mean.value,
        variance=empty if learns else layer.moving_variance.value,
        epsilon=layer.epsilon,
        is_training=learns,
    )


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
    optimizer._all_reduce_sum_gradients = _as_they_are


def _as_they_are(pairs: list[tuple[tf.Tensor, tf.Variable]]) -> list[tuple[tf.Tensor, tf.Variable]]:
    return pairs


def use_fast_steps(optimizer: keras.optimizers.Optimizer) -> bool:
    """Lets SGD with momentum take its steps by TensorFlow's fused operation, on one device.

    As above, only the function is replaced, and variables and configuration stay those of Keras.

    Args:
        optimizer: Any Keras optimizer on the TensorFlow backend; call before `compile`.

    Returns:
        Whether it was changed; anything but `keras.optimizers.SGD` with momentum stays as it is.
    """
    is_suitable = type(optimizer) is keras.optimizers.SGD and optimizer.momentum != 0
    if is_suitable:
        optimizer.update_step = partial(_step, optimizer)
    return is_suitable


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
