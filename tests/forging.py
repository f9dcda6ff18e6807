"""Files taken apart and put together again, as an attacker would who knows the format."""

import io
import json
import zipfile

import numpy as np
import safetensors
import safetensors.numpy
import skops.io

from sklearn_ae import persistence


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


def parts_for_skops(content):
    """Return the names of the arrays that are archives of skops."""
    return [each["skops"]["$array"] for each in content["objects"] if "skops" in each]


def with_foreign(path, estimator):
    """Return the bytes of a file whose part for skops is `estimator`, whatever that holds."""
    content, arrays = take_apart(path)
    (name,) = parts_for_skops(content)
    arrays[name] = np.frombuffer(skops.io.dumps(estimator), np.uint8)
    return put_together(content, arrays)


def with_schema(path, change):
    """Return the bytes of a file after `change` has edited what skops says of its part."""
    content, arrays = take_apart(path)
    (name,) = parts_for_skops(content)
    file = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(arrays[name].tobytes())) as old,
        zipfile.ZipFile(file, "w") as new,
    ):
        for part in old.infolist():
            text = old.read(part)
            if part.filename == "schema.json":
                schema = json.loads(text)
                text = json.dumps(change(schema) or schema)
            new.writestr(part.filename, text)
    arrays[name] = np.frombuffer(file.getvalue(), np.uint8)
    return put_together(content, arrays)
