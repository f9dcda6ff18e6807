"""What is global in a process."""

import os
import random
import sys

import numpy as np
import sklearn
import torch


def surroundings():
    """Return all that an import or a fit could change and should not."""
    cudnn = torch.backends.cudnn
    return {
        "environment": dict(os.environ),
        "torch draws": torch.get_rng_state().tolist(),
        "NumPy draws": repr(np.random.get_state()),  # noqa: NPY002 - the global state is the point
        "Python draws": random.getstate(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "types": (torch.get_default_dtype(), torch.get_default_device()),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.is_anomaly_enabled()),
        "products": torch.get_float32_matmul_precision(),
        "algorithms": (
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.mkldnn.enabled,
        ),
        "cudnn": (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32),
        "errors": (np.geterr(), sys.getswitchinterval(), sys.getrecursionlimit()),
        "options": (sklearn.get_config(), np.get_printoptions(), os.getcwd()),
    }
