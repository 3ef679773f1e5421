"""Make the bundles that the runtime is tried with on old versions of onnxruntime.

    make_bundles.py DIRECTORY

Runs in the environment that has the converters; writes one bundle per case and ``expected.json`` with the source
framework's own answers.
"""

import csv
import json
import sys
from pathlib import Path

import joblib
import numpy as np
import onnx
from sklearn.cluster import KMeans
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

from ortolan_convert.convert import convert

POSITIVE = ["好用 很好", "喜欢 这个 颜色", "great phone, works well", "I love the colour", "very good, très bien"]
NEGATIVE = ["不好 太差", "退货 质量 差", "bad phone, does not work", "I hate the colour", "terrible, très mauvais"]
TEXTS = [f"{text} {n}" for n in range(8) for text in POSITIVE + NEGATIVE]
LABELS = ["pos" if i % 10 < 5 else "neg" for i in range(len(TEXTS))]

CASES = {
    "char": make_pipeline(TfidfVectorizer(analyzer="char", ngram_range=(1, 3)), LogisticRegression()),
    "word": make_pipeline(CountVectorizer(ngram_range=(1, 2)), MultinomialNB()),
    "clusters": make_pipeline(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4)), KMeans(3, n_init=1, random_state=0)
    ),
}


def main(directory: Path) -> None:
    samples = directory / "samples.csv"
    with samples.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *zip(TEXTS, LABELS, strict=True)])
    expected = {"texts": TEXTS, "answers": {}}
    for name, pipeline in CASES.items():
        pipeline.fit(TEXTS, LABELS)
        joblib.dump(pipeline, directory / f"{name}.joblib")
        convert([directory / f"{name}.joblib"], directory / f"{name}.bundle", samples=samples, trust=True)
        answers = pipeline.predict(TEXTS)
        expected["answers"][name] = answers.tolist()
        if hasattr(pipeline, "predict_proba"):
            expected["answers"][f"{name}.probabilities"] = np.asarray(pipeline.predict_proba(TEXTS)).tolist()
    text = '<ir_version: 10, opset_import: ["": 21]> g (float[N,3] x) => (float[N,2] y) { y = MatMul(x, w) }'
    model = onnx.parser.parse_model(text.replace("(float[N,2] y) {", "(float[N,2] y) <float[3,2] w = {1,2,3,4,5,6}> {"))
    onnx.save(model, directory / "bare.onnx")
    (directory / "expected.json").write_text(json.dumps(expected), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
