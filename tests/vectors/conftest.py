# SPDX-License-Identifier: Apache-2.0
"""What the tests of signature files made here share."""

import json

import cases
import oracle
import pytest


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return oracle.write_files(tmp_path_factory.mktemp("own") / "model", cases.FILES)


@pytest.fixture
def verify(hallmark, keys, tmp_path):
    """Signs, breaks, verifies."""

    def run(case, model, document, *options, key=None, public=None, **how):
        key = key or keys["python", "ec-p256"]
        document = cases.apply(case.signed, document)
        payload = document if isinstance(document, bytes) else json.dumps(document).encode()
        written = cases.apply(case.written, oracle.sign_oms(payload, key.python, **how))
        file = tmp_path / "under-test.sig"
        file.write_bytes(cases.apply(case.text, cases.to_bytes(written)))
        believed = options or ("--key", public or key.public)
        result = hallmark("verify", model, "--signature", file, *believed, *case.options, "--json")
        return cases.check(result, case)

    return run
