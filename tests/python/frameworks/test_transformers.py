# SPDX-License-Identifier: Apache-2.0
"""Directories of Hugging Face's layout, by the real transformers; and what of them is not used."""

import json
import os
import pathlib

import pytest
import torch

import hallmark

transformers = pytest.importorskip("transformers")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "world"]


def small_model():
    torch.manual_seed(1)
    config = transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64,
    )  # fmt: skip
    return transformers.BertModel(config).eval()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Config, tokenizer and weights in several files, with an index."""
    folder = tmp_path_factory.mktemp("bert") / "bert"
    small_model().save_pretrained(folder, max_shard_size="20KB")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    assert (folder / "model.safetensors.index.json").exists()
    return folder


@pytest.fixture
def bert(made, tmp_path, ec):
    import shutil

    folder = tmp_path / "bert"
    shutil.copytree(made, folder)
    hallmark.sign(folder, ec.private)
    return folder


def load(cls, folder, ec, **options):
    return hallmark.transformers.from_pretrained(cls, folder, key=ec.public, **options)


def test_a_model_with_its_config_and_tokenizer(bert, ec):
    expected = small_model().state_dict()
    model = load(transformers.AutoModel, bert, ec)
    found = model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
    assert load(transformers.AutoConfig, bert, ec).hidden_size == 32
    words = load(transformers.AutoTokenizer, bert, ec)("hello world")
    assert words["input_ids"] == [2, 5, 6, 3]
    with hallmark.open(bert, key=ec.public) as opened:
        assert hallmark.transformers.from_pretrained(transformers.BertModel, opened)


def test_the_model_on_disk_is_not_looked_at(bert, ec, monkeypatch):
    """All of it is changed once it is verified, before transformers reads anything."""

    class Late(transformers.BertModel):
        @classmethod
        def from_pretrained(cls, place, *args, **kwargs):
            for file in bert.iterdir():
                file.write_bytes(b"changed")
            assert kwargs["local_files_only"] and kwargs["use_safetensors"]
            assert kwargs["trust_remote_code"] is False
            return transformers.BertModel.from_pretrained(place, *args, **kwargs)

    model = load(Late, bert, ec)
    expected = small_model().state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


def test_a_changed_directory_is_refused(bert, ec):
    shard = sorted(bert.glob("model-*.safetensors"))[2]
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    with pytest.raises(hallmark.IntegrityError, match=shard.name):
        load(transformers.AutoModel, bert, ec)
    assert load(transformers.AutoConfig, bert, ec)  # which needs no weights


def test_what_a_class_does_not_get_to_see(bert, ec):
    (bert / "pytorch_model.bin").write_bytes(b"a pickle")
    (bert / "modeling.py").write_text("raise SystemExit")
    hallmark.sign(bert, ec.private)
    seen = {}

    class Curious:
        @classmethod
        def from_pretrained(cls, place, **kwargs):
            seen[cls.__name__] = set(os.listdir(place)), kwargs

    class PreTrainedModel(Curious):
        """By its name a class of models."""

    load(Curious, bert, ec)
    load(PreTrainedModel, bert, ec)
    both = {"config.json", "vocab.txt", "tokenizer.json"}
    assert both <= seen["Curious"][0] and both <= seen["PreTrainedModel"][0]
    assert not any(name.endswith((".safetensors", ".bin", ".py")) for name in seen["Curious"][0])
    assert any(name.endswith(".safetensors") for name in seen["PreTrainedModel"][0])
    assert not any(name.endswith((".bin", ".py")) for name in seen["PreTrainedModel"][0])
    assert "use_safetensors" not in seen["Curious"][1]


@pytest.mark.parametrize(
    "option", [{"trust_remote_code": True}, {"use_safetensors": False}, {"revision": "main"},
               {"local_files_only": False}, {"cache_dir": "/tmp"}],
)  # fmt: skip
def test_options_that_lead_elsewhere(bert, ec, option):
    with pytest.raises(hallmark.UsageError):
        load(transformers.AutoModel, bert, ec, **option)


def test_code_and_adapters_are_not_followed(bert, ec, tmp_path, monkeypatch):
    config = json.loads((bert / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "modeling.Evil"}
    config["model_type"] = "unknown-type"
    (bert / "config.json").write_text(json.dumps(config))
    (bert / "modeling.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    hallmark.sign(bert, ec.private)
    with pytest.raises(ValueError):
        load(transformers.AutoModel, bert, ec)
    assert not (tmp_path / "executed").exists()
    (bert / "adapter_config.json").write_text('{"base_model_name_or_path": "elsewhere"}')
    hallmark.sign(bert, ec.private)
    with pytest.raises(hallmark.UnsupportedError):
        load(transformers.AutoModel, bert, ec)


@pytest.mark.parametrize(
    "more",
    [{"attn_implementation": "somebody/kernels"}, {"_attn_implementation": "a/b@main:c"},
     {"_attn_implementation_internal": "paged|a/b"}, {"experts_implementation": "a/b"},
     {"text_config": {"attn_implementation": {"": "a/b"}}}],
)  # fmt: skip
@pytest.mark.parametrize("file", ["config.json", "config.5.0.0.json"])
def test_kernels_are_not_fetched(bert, ec, more, file):
    config = json.loads((bert / "config.json").read_text())
    (bert / file).write_text(json.dumps({**config, **more}))
    hallmark.sign(bert, ec.private)
    with pytest.raises(hallmark.UnsupportedError, match="kernel from elsewhere"):
        load(transformers.AutoModel, bert, ec)


def test_an_implementation_that_is_no_kernel(bert, ec):
    config = json.loads((bert / "config.json").read_text())
    (bert / "config.json").write_text(json.dumps({**config, "attn_implementation": "eager"}))
    hallmark.sign(bert, ec.private)
    model = load(transformers.AutoModel, bert, ec)
    assert model.config._attn_implementation == "eager"


def test_nothing_is_left(bert, ec, tmp_path, monkeypatch):
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = len(os.listdir("/proc/self/fd"))
    load(transformers.AutoModel, bert, ec)
    assert [path.name for path in pathlib.Path(tmp_path).iterdir()] == ["bert"]
    assert len(os.listdir("/proc/self/fd")) <= before
