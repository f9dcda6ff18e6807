"""Files taken apart and put together again, as an attacker would who knows the format."""

import json
from unittest import mock

import safetensors
import safetensors.numpy

from sklearn_ae import persistence
from sklearn_ae._files import description


def take_apart(path):
    """Return what a file describes, and its arrays."""
    with safetensors.safe_open(path, framework="numpy") as file:
        content = json.loads(file.metadata()[persistence.ENTRY])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del arrays[persistence.DIGEST]
    return content, arrays


def put_together(content, arrays):
    """Return the bytes of a file whose digest is right; `content` may be text."""
    text = content if isinstance(content, str) else json.dumps(content)
    arrays = arrays | {persistence.DIGEST: persistence._digest(text, arrays)}
    return safetensors.numpy.save(arrays, {persistence.ENTRY: text})


def unchecked(estimator):
    """Return the bytes of a file that contains an estimator, whatever `save` thinks of it."""
    with mock.patch.object(description, "check_values"):
        described = description.Description(estimator)
    versions = persistence._versions()
    content = {"format": 1, "versions": versions, "objects": described.objects}
    return put_together(content, described.arrays)
