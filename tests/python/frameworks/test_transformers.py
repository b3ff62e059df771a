# SPDX-License-Identifier: Apache-2.0
"""Directories of Hugging Face's layout, by the real transformers; and what of them is not used."""

import json
import os
import pathlib

import numpy
import pytest
import safetensors.torch
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


def test_progress_is_of_the_loading(bert, ec):
    told = []
    load(transformers.AutoModel, bert, ec, progress=lambda *numbers: told.append(numbers))
    assert told and told[-1][0] == told[-1][1] > sum(
        file.stat().st_size for file in bert.glob("*.safetensors")
    )


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
    with pytest.raises(hallmark.UnsupportedError, match="_implementation"):
        load(transformers.AutoModel, bert, ec)


def test_an_implementation_that_is_no_kernel(bert, ec):
    config = json.loads((bert / "config.json").read_text())
    (bert / "config.json").write_text(json.dumps({**config, "attn_implementation": "eager"}))
    hallmark.sign(bert, ec.private)
    model = load(transformers.AutoModel, bert, ec)
    assert model.config._attn_implementation == "eager"


# ---- what leads elsewhere -----------------------------------------------------------------------


def rewrite(file, **members):
    """A JSON file with other members, or a new one."""
    old = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**old, **members}))


@pytest.fixture
def outside(bert, tmp_path):
    """Weights and a vocabulary that nobody signed."""
    folder = tmp_path / "outside"
    folder.mkdir()
    state = {name: value * 0 + 7 for name, value in small_model().state_dict().items()}
    safetensors.torch.save_file(state, folder / "w.safetensors", metadata={"format": "pt"})
    torch.save(state, folder / "w.bin")
    words = [*WORDS[:5], "world", "hello"]
    (folder / "vocab.txt").write_text("\n".join(words))
    return folder


@pytest.mark.parametrize(
    "target", ["{0}/w.safetensors", "{0}/w.bin", "../outside/w.safetensors", "vocab.txt",
               "unsigned.safetensors", "./model-00001-of-00006.safetensors", 7],
)  # fmt: skip
def test_an_index_names_files_of_the_model_only(bert, outside, ec, target):
    file = bert / "model.safetensors.index.json"
    index = json.loads(file.read_text())
    first = sorted(set(index["weight_map"].values()))[0]
    target = target.format(outside) if isinstance(target, str) else target
    for name, shard in index["weight_map"].items():
        index["weight_map"][name] = target if shard == first else shard
    file.write_text(json.dumps(index))
    hallmark.sign(bert, ec.private)
    with pytest.raises(hallmark.UnsupportedError, match="index"):
        load(transformers.AutoModel, bert, ec)


def test_a_tokenizer_takes_no_other_vocabulary(bert, outside, ec):
    rewrite(bert / "tokenizer_config.json", vocab_file=str(outside / "vocab.txt"))
    hallmark.sign(bert, ec.private)
    with pytest.raises(hallmark.UnsupportedError, match="vocab_file"):
        load(transformers.BertTokenizer, bert, ec)
    # Which is often there, and never read.
    rewrite(bert / "tokenizer_config.json", vocab_file=None, special_tokens_map_file="/root/x.json")
    hallmark.sign(bert, ec.private)
    assert load(transformers.AutoTokenizer, bert, ec)("hello world")["input_ids"] == [2, 5, 6, 3]


CONFIGS = {
    "code": {"text_config": {"trust_remote_code": True}},
    "code of a backbone": {"backbone_kwargs": {"trust_remote_code": True}},
    "a kernel": {"attn_implementation": "somebody/kernel"},
    "a part's kernel": {"attn_implementation": {"text_config": "somebody/kernel:f"}},
    "weights": {"transformers_weights": "../outside/w.safetensors"},
    "an index": {"transformers_weights": "../outside/model.safetensors.index.json"},
    "data": {"index_path": "/tmp/index"},
    "a backbone's weights": {"backbone": "resnet50", "use_pretrained_backbone": True},
    "a backbone": {"backbone": "somebody/model", "use_pretrained_backbone": False},
    "a backbone by default": {"backbone": "resnet50", "use_timm_backbone": True},
    "a part's backbone": {"backbone_config": {"use_pretrained_backbone": True}},
}


@pytest.mark.parametrize("what", CONFIGS)
@pytest.mark.parametrize("cls", ["AutoModel", "BertModel", "AutoConfig"])
def test_a_configuration_leads_nowhere_else(bert, outside, ec, what, cls):
    rewrite(bert / "config.json", **CONFIGS[what])
    hallmark.sign(bert, ec.private)
    with pytest.raises(hallmark.UnsupportedError, match="config.json"):
        load(getattr(transformers, cls), bert, ec)


def test_a_processor_takes_no_other_model(bert, outside, ec):
    other = {"audio_tokenizer_class": "DacModel", "audio_tokenizer_name_or_path": str(outside)}
    rewrite(bert / "processor_config.json", audio_tokenizer=other)
    hallmark.sign(bert, ec.private)
    with pytest.raises(hallmark.UnsupportedError, match="audio_tokenizer_name_or_path"):
        load(transformers.AutoProcessor, bert, ec)


def test_backbones_that_are_here(bert, ec):
    seen = []

    class PreTrainedModel:
        """By its name a class of models."""

        @classmethod
        def from_pretrained(cls, place, **kwargs):
            seen.append(kwargs.get("use_pretrained_backbone"))

    timm = {"backbone": "resnet50", "use_timm_backbone": True}
    for members, options in (
        ({**timm, "use_pretrained_backbone": False}, {}),
        ({**timm, "use_pretrained_backbone": True}, {"use_pretrained_backbone": False}),
        ({"backbone": None, "backbone_config": {"model_type": "resnet"}}, {}),
    ):
        (bert / "config.json").write_text(json.dumps(members))
        hallmark.sign(bert, ec.private)
        load(PreTrainedModel, bert, ec, **options)
    assert seen == [None, False, None]


CONFIG_CODE = """
open({!r}, "w")
from transformers import PretrainedConfig
class Config(PretrainedConfig):
    model_type = "its-own"
"""


def test_the_code_of_a_backbone_is_not_run(bert, tmp_path, ec, monkeypatch):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    other = tmp_path / "other"
    other.mkdir()
    rewrite(other / "config.json", model_type="its-own", auto_map={"AutoConfig": "code.Config"})
    (other / "code.py").write_text(CONFIG_CODE.format(str(tmp_path / "executed")))
    (bert / "config.json").unlink()
    rewrite(
        bert / "config.json", model_type="upernet", backbone=str(other), backbone_config=None,
        use_pretrained_backbone=False, backbone_kwargs={"trust_remote_code": True},
    )  # fmt: skip
    hallmark.sign(bert, ec.private)
    with pytest.raises(hallmark.UnsupportedError):
        load(transformers.UperNetForSemanticSegmentation, bert, ec)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"a": "\udcff"}', ""])
def test_a_configuration_that_is_none(bert, ec, text):
    (bert / "config.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    hallmark.sign(bert, ec.private)
    with pytest.raises(hallmark.UnsupportedError, match="config.json"):
        load(transformers.AutoModel, bert, ec)


def test_a_very_deep_configuration(bert, ec):
    deep = '{"a":' * 900 + '{"trust_remote_code": true}' + "}" * 900
    (bert / "config.json").write_text(deep)
    hallmark.sign(bert, ec.private)
    with pytest.raises(hallmark.UnsupportedError, match="config.json"):
        load(transformers.AutoModel, bert, ec)


def test_arrays_with_pickles_and_adapters_are_not_seen(bert, ec):
    seen = set()

    class Curious:
        @classmethod
        def from_pretrained(cls, place, **kwargs):
            for _, _, files in os.walk(place):
                seen.update(files)

    numpy.save(bert / "block_records.npy", numpy.array([1]))
    (bert / "sub").mkdir()
    (bert / "sub" / "adapter_config.json").write_text("{}")
    hallmark.sign(bert, ec.private)
    load(Curious, bert, ec)
    assert "config.json" in seen and not seen & {"block_records.npy", "adapter_config.json"}


@pytest.mark.parametrize("folder", ["../outside", "/tmp", "a/../.."])
def test_a_subfolder_is_inside(bert, ec, folder):
    with pytest.raises(hallmark.UsageError, match="subfolder"):
        load(transformers.AutoModel, bert, ec, subfolder=folder)


def test_nothing_is_left(bert, ec, tmp_path, monkeypatch):
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = len(os.listdir("/proc/self/fd"))
    load(transformers.AutoModel, bert, ec)
    assert [path.name for path in pathlib.Path(tmp_path).iterdir()] == ["bert"]
    assert len(os.listdir("/proc/self/fd")) <= before
