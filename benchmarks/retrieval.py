"""Retrieval by codes: 20 Newsgroups with 128 bits and 32 components, MNIST with 64 and 256 bits.

Two linear rivals have binary codes of posts as well: the signs of the components of LSA, centred
("LSA signs"), and of these components after a rotation that brings them close to their signs
("ITQ": Gong, Y. and Lazebnik, S. (2011). Iterative quantization: a procrustean approach to
learning binary codes. CVPR).

Posts: the 2,000 most frequent words of the training posts without English stop words, sublinear
tf-idf; 1,500 random test posts are queries among all training posts, headers and quotes included;
posts of the same group are relevant. Images: test images are queries among training images; images
of the same digit are relevant. Labels are used for evaluation only. Parameters are chosen with
training samples as queries, without the test queries. Hamming distances are integers; ties are in
the order of the index.

The part "defaults" compares default parameters with these linear codes on less data, without test
samples: 800 other training posts or 1,000 other training images are the queries. Run::

    python benchmarks/retrieval.py [--quick] [--part posts|images|defaults|speed]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from _data import machine, mnist, newsgroups, write_json
from sklearn.base import clone
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.metrics.pairwise import cosine_similarity, euclidean_distances

from sklearn_ae import Autoencoder, SemanticHashing
from sklearn_ae._search.hamming import nearest_codes

POSTS = {
    "hidden_layer_sizes": (512,),
    "learning_rate_init": 0.002,
    "batch_size": 128,
    "random_state": 0,
}
IMAGES = {"hidden_layer_sizes": (512, 256), "learning_rate_init": 0.002, "random_state": 0}


def judge(similarity: np.ndarray, alike: np.ndarray) -> dict[str, float]:
    """Return mean precision at 10 and 100, and mean average precision.

    Parameters
    ----------
    similarity : ndarray of shape (n_queries, n_rows)
    alike : ndarray of shape (n_queries, n_rows), dtype bool
    """
    order = np.argsort(-similarity, axis=1, kind="stable")
    found = np.take_along_axis(alike, order, axis=1)
    precision = np.cumsum(found, axis=1) / np.arange(1, found.shape[1] + 1)
    average = (precision * found).sum(axis=1) / found.sum(axis=1).clip(min=1)
    return {
        "P@10": float(found[:, :10].mean()),
        "P@100": float(found[:, :100].mean()),
        "MAP": float(average.mean()),
    }


def agreement(queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return minus the Hamming distance, up to a constant and a factor, as integers."""
    return (2 * queries - 1) @ (2 * rows - 1).T


def choose(candidates, similar, rows, labels, n_queries: int, measure: str):
    """Return the best candidate with training samples as queries."""
    order = np.random.RandomState(1).permutation(len(labels))
    asking, asked = order[:n_queries], order[n_queries:]
    alike = labels[asking][:, None] == labels[asked]
    values = []
    for candidate in candidates:
        model = clone(candidate).fit(rows[asked])
        found = similar(model.transform(rows[asking]), model.transform(rows[asked]))
        values.append(judge(found, alike)[measure])
        print(
            f"  on training samples {values[-1]:.4f}: {candidate}".replace("\n", " "), flush=True
        )
    return candidates[int(np.argmax(values))]


def show(report: dict, name: str, result: dict, start: float) -> None:
    """Print a row of the table and add it to the report."""
    report[name] = result | {"seconds": time.perf_counter() - start}
    print(f"{name:34}" + "".join(f"{key:>9} {value:.4f}" for key, value in result.items()))


def bags() -> tuple:
    """Return bags of words of training posts and queries, labels, relevance, and the source."""
    (train, labels), (test, test_labels), source = newsgroups()
    # Words of three letters or more give the closest match to published figures for tf-idf.
    words = TfidfVectorizer(
        max_features=2000, stop_words="english", sublinear_tf=True, token_pattern="[a-z]{3,}"
    )
    rows = words.fit_transform(train).astype(np.float32)
    chosen = np.random.RandomState(0).permutation(len(test))[:1500]
    queries = words.transform([test[place] for place in chosen]).astype(np.float32)
    alike = test_labels[chosen][:, None] == labels
    return rows, queries, labels, alike, source


def rotation_to_signs(codes: np.ndarray, n_iter: int = 50) -> np.ndarray:
    """Return the rotation whose result is close to its signs, by iterative quantisation."""
    n_components = codes.shape[1]
    draws = np.random.RandomState(0).normal(size=(n_components, n_components))
    rotation = np.linalg.qr(draws)[0]
    for _ in range(n_iter):
        left, _, right = np.linalg.svd(codes.T @ np.sign(codes @ rotation))
        rotation = left @ right
    return rotation


def linear_codes(rows, queries, size: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the bits of rows and of queries by LSA, as they are and rotated."""
    model = TruncatedSVD(size, random_state=0)
    codes = model.fit_transform(rows)
    others = model.transform(queries) - codes.mean(0)
    codes -= codes.mean(0)
    found = {}
    for name, rotation in (("LSA signs", np.eye(size)), ("ITQ", rotation_to_signs(codes))):
        bits = tuple((each @ rotation > 0).astype(np.float32) for each in (codes, others))
        found[f"{name}, {size} bits"] = bits
    return found


def posts(quick: bool) -> dict:
    """Measure retrieval on 20 Newsgroups."""
    rows, queries, labels, alike, source = bags()
    print(source, flush=True)
    report: dict = {"data": source}
    start = time.perf_counter()
    show(report, "tf-idf, cosine", judge((queries @ rows.T).toarray(), alike), start)
    for size in (32, 128):
        start = time.perf_counter()
        model = TruncatedSVD(size, random_state=0).fit(rows)
        found = cosine_similarity(model.transform(queries), model.transform(rows))
        show(report, f"LSA-{size}, cosine", judge(found, alike), start)
    for size in (32, 64, 128):
        start = time.perf_counter()
        for name, (bits, asked) in linear_codes(rows, queries, size).items():
            show(report, name, judge(agreement(asked, bits), alike), start)
    for name, candidates, similar in text_models(quick):
        start = time.perf_counter()
        best = candidates[0]
        if len(candidates) > 1:
            best = choose(candidates, similar, rows, labels, 1000, "MAP")
        best.fit(rows)
        found = similar(best.transform(queries), best.transform(rows))
        show(report, name, judge(found, alike), start)
    return report


def text_models(quick: bool) -> list[tuple]:
    """Return names, candidates and similarities of the models for posts."""
    epochs = 8 if quick else 15
    hashing = [
        SemanticHashing(
            128, code_noise=noise, input_masking=0.5, alpha=alpha, max_iter=epochs, **POSTS
        )
        for noise, alpha in ([(4.0, 0.1)] if quick else [(4.0, 0.1), (8.0, 0.1), (8.0, 1.0)])
    ]
    plain = [
        Autoencoder(32, input_noise=noise, alpha=1.0, max_iter=epochs, **POSTS)
        for noise in ([1.0] if quick else [0.5, 1.0, 2.0])
    ]
    return [
        ("SemanticHashing, 128 bits", hashing, agreement),
        ("Autoencoder-32, cosine", plain, cosine_similarity),
    ]


def images(quick: bool) -> dict:
    """Measure retrieval on MNIST."""
    train, test, labels, test_labels, source = mnist()
    n_rows, n_queries = (6000, 500) if quick else (20000, 1000)
    source += f"; {n_rows} of the training images, {n_queries} test images as queries"
    print(source, flush=True)
    rows, labels, queries = train[:n_rows], labels[:n_rows], test[:n_queries]
    alike = test_labels[:n_queries, None] == labels
    report: dict = {"data": source}
    start = time.perf_counter()
    show(report, "pixels", judge(-euclidean_distances(queries, rows), alike), start)
    for size in (64, 256):
        start = time.perf_counter()
        model = PCA(size, random_state=0).fit(rows)
        found = -euclidean_distances(model.transform(queries), model.transform(rows))
        show(report, f"PCA-{size}", judge(found, alike), start)
    for size in (64, 256):
        start = time.perf_counter()
        candidates = [
            SemanticHashing(
                size,
                code_noise=noise,
                max_iter=10 if quick else 20,
                **IMAGES,
            )
            for noise in ([2.0] if quick else [1.0, 2.0, 4.0])
        ]
        best = candidates[0]
        if len(candidates) > 1:
            best = choose(candidates, agreement, rows, labels, 1000, "P@100")
        best.fit(rows)
        found = agreement(best.transform(queries), best.transform(rows))
        show(report, f"SemanticHashing, {size} bits", judge(found, alike), start)
    return report


def other_posts(n_posts: int, words: CountVectorizer) -> tuple:
    """Return bags of words of training posts and of 800 queries among them, and the groups."""
    (texts, groups), _, _ = newsgroups()
    # The start and the number of epochs were chosen with posts and queries of another draw.
    chosen = np.random.RandomState(6).permutation(len(texts))[: n_posts + 800]
    rows, queries = np.split(chosen, [n_posts])
    X = words.fit_transform([texts[place] for place in rows]).astype(np.float32)
    others = words.transform([texts[place] for place in queries]).astype(np.float32)
    return X, others, groups[rows], groups[queries]


def settings(quick: bool) -> dict[str, tuple]:
    """Return samples, queries and labels of both, by name."""
    common = {"stop_words": "english"}
    images, _, labels, _, _ = mnist()
    found = {
        "1,000 posts": other_posts(
            1000, TfidfVectorizer(max_features=2000, sublinear_tf=True, **common)
        ),
        "3,000 posts": other_posts(
            3000, TfidfVectorizer(max_features=2000, sublinear_tf=True, **common)
        ),
        "10,000 words": other_posts(
            3000, TfidfVectorizer(max_features=10000, sublinear_tf=True, **common)
        ),
        "with stop words": other_posts(3000, TfidfVectorizer(max_features=2000)),
        "counts": other_posts(3000, CountVectorizer(max_features=2000, **common)),
        "MNIST": (images[5000:9000], images[9000:10000], labels[5000:9000], labels[9000:10000]),
    }
    return {name: found[name] for name in list(found)[: 2 if quick else None]}


def defaults(quick: bool) -> dict:
    """Compare default parameters with linear codes."""
    report: dict = {}
    for name, (rows, queries, labels, asked) in settings(quick).items():
        alike = asked[:, None] == labels
        for size in (32, 128):
            start = time.perf_counter()
            mean = 0 if hasattr(rows, "tocsr") else rows.mean(axis=0)
            for method, (bits, other) in linear_codes(rows - mean, queries - mean, size).items():
                show(report, f"{name}: {method}", judge(agreement(other, bits), alike), start)
            for init in ("pca", "random"):
                start = time.perf_counter()
                model = SemanticHashing(size, init=init, random_state=0).fit(rows)
                codes = [_dense(model.transform(each)) for each in (queries, rows)]
                title = f"{name}: init={init!r}, {size} bits"
                show(report, title, judge(agreement(*codes), alike), start)
    return report


def _dense(codes) -> np.ndarray:
    return codes.toarray() if hasattr(codes, "toarray") else codes


def speed(quick: bool) -> dict:
    """Measure the processor time of exact searches in a million random codes, per query."""
    report: dict = {}
    rng = np.random.default_rng(0)
    for n_bits in (64, 128):
        codes = rng.integers(2**63, size=(10**6, n_bits // 64), dtype=np.uint64)
        taken = []
        for query in codes[: 5 if quick else 50]:
            start = time.process_time()
            nearest_codes(query[None], codes, 10)
            taken.append(time.process_time() - start)
        report[f"{n_bits} bits"] = {"milliseconds per query": 1000 * float(np.median(taken))}
        print(f"{n_bits} bits, a million codes: {1000 * np.median(taken):.1f} ms per query")
    return report


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="one minute: fewer samples, no choice of parameters"
    )
    parser.add_argument("--part", choices=["posts", "images", "defaults", "speed"])
    arguments = parser.parse_args()
    print(machine())
    parts = {"speed": speed, "posts": posts, "images": images, "defaults": defaults}
    asked = [arguments.part] if arguments.part else list(parts)
    report = {name: parts[name](arguments.quick) for name in asked}
    write_json("retrieval", {"machine": machine(), "quick": arguments.quick, "results": report})


if __name__ == "__main__":
    main()
