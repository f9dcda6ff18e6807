"""Files that would take far more time or memory than their size, and what loading them takes.

``python tests/heavy.py ordinary`` reads names of heavy files and prints for each the seconds of
processor time and the bytes of memory that ``load`` took, and whether it gave a model. Each is
loaded by a process of its own, which has loaded the ordinary file before.
"""

import json
import os
import resource
import struct
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from forging import put_together, take_apart

SECONDS = 1.0
SECONDS_PER_MB = 1.5
FIXED = 64 * 2**20
FACTOR = 10
"""What loading may take: seconds and bytes, however small a file is, and for its size."""

PRIME = 2**61 - 1
"""Whole numbers that differ by it have the same hash."""

VALUES = [
    *("[]", "{}", "0", "257", "1.5", "1e1", "null", '""', '"ab"', '"\\ud83d\\ude00"', "[[]]"),
    *(
        '{"a":0}',
        '{"a":"ab","b":1.5}',
        '[1.5,"ab"]',
        '{"a":{"b":{}}}',
        "9" * 900,
        "0." + "1" * 900,
    ),
    *(
        '{"$tuple":[]}',
        '{"$tuple":[1.5]}',
        '{"$dict":[]}',
        '{"$dict":[[1,2]]}',
        '{"$float":"nan"}',
    ),
    *('{"$requests":{}}', '{"$requests":{"fit":{"a":true}}}', '{"$scalar":1,"dtype":"int8"}'),
    *('{"$scalar":"a","dtype":"str"}', '{"$dtype":"int8"}', '{"$device":"cpu"}'),
    *('{"$estimator":0}', '{"$objects":[],"shape":[0]}', '{"$objects":[[]],"shape":[1]}'),
    *('{"$record":"TensorState","values":[0,0]}', '{"$module":"AutoencoderModule"}'),
    *('{"$type":"numpy.int8"}', '{"$function":"log1p"}', '{"$mapping":[],"values":[]}'),
    *('{"$object":"slice","parts":{"bounds":[0,1,2]}}', '{"$object":"KFold","parts":{}}'),
    *('{"$object":"set","parts":{"entries":[]}}', '{"$object":"set","parts":{"entries":[1.5]}}'),
    *('{"$object":"Bunch","parts":{"entries":{}}}', '{"$object":"Hinge","parts":{}}'),
    '{"$object":"Generator","parts":{"bit_generator":"PCG64","state":{"state":1,"inc":1},'
    '"has_uint32":0,"uinteger":0}}',
]
"""Values in descriptions, each of which is small in the file."""

CONTAINERS = [
    *("[%s]", '{"$tuple":[%s]}', '{"a":[%s],"b":0}', '{"$dict":[[0,[%s]]]}'),
    *('{"$objects":[[%s]],"shape":[1]}', '{"$object":"Bunch","parts":{"entries":{"a":[%s]}}}'),
]
"""What the values may stand in."""

CLASSES = [
    *("Autoencoder", "StandardScaler", "LSTMAutoencoder", "AutoencoderOutlierDetector"),
    *("SVC", "MinMaxScaler"),
]


def _repeated(unit, size):
    """Return a unit, again and again, as the entries of a list; ``%d`` in it is a number."""
    count = max(1, size // (len(unit) + 1))
    numbered = "%d" in unit
    return ",".join(
        unit.replace("%d", str(place), 1) if numbered else unit for place in range(count)
    )


class Heavy:
    """Makes heavy files of an ordinary one, which holds an autoencoder and a scaler."""

    def __init__(self, path):
        self.content, self.arrays = take_apart(path)
        self.text = json.dumps(self.content)

    # Descriptions

    def noting(self, text):
        """Give the last estimator an attribute, written as it is."""
        start = self.text.rindex('"attributes": {') + len('"attributes": {')
        comma = "" if self.text[start] == "}" else ","
        return put_together(
            f'{self.text[:start]}"note_":{text}{comma}{self.text[start:]}', dict(self.arrays)
        )

    def values(self, unit, size, wrapping="[%s]"):
        return self.noting(wrapping.replace("%s", _repeated(unit, size)))

    def nested(self, size, depth, opening="[", closing="]"):
        return self.values(opening * depth + closing * depth, size)

    def keys(self, size, kind="%s"):
        """Whole numbers of one hash, or tuples or floats of them, as keys."""
        keys = (kind.replace("%s", str(PRIME * place)) for place in range(1, size // 25))
        return self.noting('{"$dict":[' + ",".join(f"[{key},0]" for key in keys) + "]}")

    def one_hash(self, size):
        """Whole numbers of one hash as entries of a set."""
        numbers = ",".join(str(PRIME * place) for place in range(1, size // 22))
        return self.noting(f'{{"$object":"set","parts":{{"entries":[{numbers}]}}}}')

    def words(self, size):
        """A vocabulary."""
        n_words = size // 16
        arrays = self.arrays | {"b": np.arange(n_words)}
        words = ",".join(f'"{place:x}"' for place in range(n_words))
        text = f'{{"$mapping":[{words}],"values":{{"$array":"b"}}}}'
        return self._with_array(text, arrays)

    def names(self, size):
        return self.noting("{" + ",".join(f'"{place:x}":0' for place in range(size // 9)) + "}")

    def estimators(self, size, name, attributes="{}"):
        """Estimators without anything in them."""
        unit = '{"class":"%s","params":{"estimator":null,"steps":[]},"attributes":%s}'
        unit = (unit % (name, attributes)).replace(
            '"estimator":null,"steps":[]', '"steps":[]' if name == "Pipeline" else ""
        )
        return self._with_objects(_repeated(unit, size))

    def doubling(self, depth):
        """Pipelines that hold the one before twice."""
        step = '{"$tuple":["%s",{"$estimator":%d}]}'
        unit = '{"class":"Pipeline","params":{"steps":[%s]},"attributes":{}}'
        first = len(self.content["objects"]) - 1
        return self._with_objects(
            ",".join(
                unit % ",".join(step % (name, first + place) for name in "ab")
                for place in range(depth)
            )
        )

    def _with_objects(self, text):
        start = self.text.index('"objects": [') + len('"objects": [')
        last = self.text.rindex("]")
        return put_together(
            f"{self.text[:start]}{self.text[start:last]},{text}]}}", dict(self.arrays)
        )

    def networks(self, size):
        """The same fitted autoencoder many times, each with arrays of its own."""
        content, arrays = json.loads(self.text), dict(self.arrays)
        fitted = next(o for o in content["objects"] if "module_" in o.get("attributes", {}))
        unit = json.dumps(fitted)
        names = [part.split('"')[0] for part in unit.split('"$array": "')[1:]]
        network = fitted["attributes"]["module_"]["config"]["network"]["$estimator"]
        specification = json.dumps(content["objects"][network])
        copies = []
        for _ in range(max(1, size // (len(unit) + len(specification) + 100 * len(names)))):
            place, copy = len(content["objects"]) + len(copies), unit
            for name in names:
                arrays[f"c{len(arrays)}"] = self.arrays[name]
                copy = copy.replace(f'"$array": "{name}"', f'"$array": "c{len(arrays) - 1}"')
            copy = copy.replace(f'"$estimator": {network}}}', f'"$estimator": {place}}}')
            copies += [specification, copy]
        text = json.dumps(content)
        return put_together(f"{text[: text.rindex(']')]},{','.join(copies)}]}}", arrays)

    # Headers of safetensors

    def empty_arrays(self, size, used):
        names = [f"e{place}" for place in range(size // 60)]
        arrays = self.arrays | dict.fromkeys(names, np.zeros(0, np.int8))
        listed = ",".join(f'{{"$array":"{name}"}}' for name in names) if used else ""
        start = self.text.rindex('"attributes": {') + len('"attributes": {')
        comma = "" if self.text[start] == "}" else ","
        text = f'{self.text[:start]}"note_":[{listed}]{comma}{self.text[start:]}'
        return put_together(text, arrays)

    def header(self, text):
        header = text.encode()
        return struct.pack("<Q", len(header)) + header

    def metadata(self, size):
        entries = ",".join(f'"{place:x}":""' for place in range(size // 10))
        return self.header(f'{{"__metadata__":{{{entries}}}}}')

    def shape(self, size):
        sizes = "1," * (size // 2) + "1"
        return (
            self.header(f'{{"a":{{"dtype":"U8","shape":[{sizes}],"data_offsets":[0,1]}}}}') + b"0"
        )

    # Objects

    def bytes_as(self, dtype, size):
        """Values whose bytes are few and whose dtype declares many."""
        arrays = self.arrays | {"b": np.zeros((size, 1), np.uint8)}
        return self._with_array(f'{{"$array":"b","dtype":{dtype}}}', arrays)

    def neighbors(self, n_samples):
        """A tree with a node for each sample."""
        arrays = self.arrays | {"b": np.linspace(0, 1, n_samples)[:, None]}
        data = '"data":{"$array":"b"},"leaf_size":1,"distance":{"metric":"euclidean"}'
        text = f'{{"$object":"KDTree","parts":{{{data},"sample_weight":null}}}}'
        return self._with_array(text, arrays)

    def _with_array(self, text, arrays):
        start = self.text.rindex('"attributes": {') + len('"attributes": {')
        comma = "" if self.text[start] == "}" else ","
        return put_together(f'{self.text[:start]}"note_":{text}{comma}{self.text[start:]}', arrays)


def heavy_files(path, size):
    """Return what makes each heavy file of about `size` bytes, by name."""
    make = Heavy(path)
    files = {f"values {unit[:40]}": (make.values, unit, size) for unit in VALUES}
    files |= {
        f"pairs {unit[:20]}": (make.values, f"[%d,{unit}]", size, '{"$dict":[%s]}')
        for unit in ("0", "[]", '"ab"')
    }
    files |= {f"estimators {name}": (make.estimators, size, name) for name in CLASSES}
    return files | {
        "keys of one hash": (make.keys, size),
        "floats as keys": (make.keys, size, "%s.0"),
        "tuples of one hash": (make.keys, size, '{"$tuple":[%s]}'),
        "names": (make.names, size),
        "nested 400": (make.nested, size, 400),
        "nested 100,000": (make.nested, size, 100_000),
        "nested tuples": (make.nested, size, 100, '{"$tuple":[', "]}"),
        "nested dictionaries": (make.nested, size, 100, '{"$dict":[[0,', "]]}"),
        "nested arrays": (make.nested, size, 50, '{"$objects":[', '],"shape":[1]}'),
        "a long number": (make.noting, "9" * size),
        "a long fraction": (make.noting, "0." + "9" * size),
        "a long exponent": (make.noting, "1e" + "9" * size),
        "a long text": (make.noting, '"\\ud83d\\ude00' + "a" * size + '"'),
        "a long key": (make.noting, '{"$' + "a" * size + '":0}'),
        "escapes": (make.noting, '"' + "\\u0000" * (size // 6) + '"'),
        "commas in a text": (make.noting, '"' + "," * size + '"'),
        "doubling": (make.doubling, 60),
        "doubling more": (make.doubling, size // 120),
        "pipelines": (make.estimators, size, "Pipeline"),
        "attributes": (make.estimators, size, "StandardScaler", '{"a_":0}'),
        "networks": (make.networks, size),
        "empty arrays": (make.empty_arrays, size, False),
        "empty arrays that are used": (make.empty_arrays, size, True),
        "metadata": (make.metadata, size),
        "shape": (make.shape, size),
        "numbers of one hash in a set": (make.one_hash, size),
        "words": (make.words, size),
        "texts": (make.bytes_as, '"S100000000"', size),
        "a wide table": (make.bytes_as, '{"fields":[["a","<i8",0]],"size":1000000000}', size),
        "neighbours": (make.neighbors, size // 8),
    }


def mixed_file(path, size, rng):
    """Return what makes a heavy file of values that were drawn, in containers that were drawn."""
    make = Heavy(path)
    unit = ",".join(VALUES[place] for place in rng.integers(len(VALUES), size=4))
    for place in rng.integers(len(CONTAINERS), size=rng.integers(4)):
        unit = CONTAINERS[place].replace("%s", unit)
    depth = int(rng.integers(100)) if rng.random() < 0.3 else 0
    return make.values, "[" * depth + unit + "]" * depth, size


def limits(size):
    """Return the seconds and the bytes that a file of `size` bytes may take."""
    return SECONDS + SECONDS_PER_MB * size / 1e6, FIXED + FACTOR * size


# What loading takes


def _memory(name):
    """Return an entry of the system's record of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise LookupError(name)


def _measure(load, ordinary, path):
    load(ordinary)  # whatever is touched for the first time
    allowed = limits(os.path.getsize(path))[0]
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time() + 2 * allowed) + 2,) * 2)
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far is forgotten
    before, start = _memory("VmRSS"), time.process_time()
    try:
        load(path)
        outcome = "model"
    except ValueError as error:
        outcome = str(error).partition("cannot be loaded: ")[2][:70] or "ValueError"
    return time.process_time() - start, _memory("VmHWM") - before, outcome


def main(ordinary):
    from sklearn_ae import load

    warnings.simplefilter("ignore")
    load(ordinary)
    for line in sys.stdin:
        path = line.rstrip("\n")
        reading, writing = os.pipe()
        if not os.fork():
            os.write(writing, json.dumps(_measure(load, ordinary, path)).encode())
            os._exit(0)
        os.close(writing)
        os.wait()
        with open(reading) as file:
            print(file.read() or json.dumps([float("inf"), float("inf"), "killed"]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
