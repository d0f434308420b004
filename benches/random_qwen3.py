"""A Qwen3-0.6B in Q4_K_M whose weights are random: the sizes and block types of the real file, for speed only.

Run: python -m benches.random_qwen3 FILE   (394 MB)
"""

import argparse
from pathlib import Path

import gguf
import numpy
import numpy.typing

LAYERS, HIDDEN, FEED_FORWARD, VOCABULARY = 28, 1024, 3072, 151_936
HEADS, KEY_HEADS, HEAD = 16, 8, 128
CONTEXT = 40_960
Blocks = numpy.typing.NDArray[numpy.uint8]
Q4_K, Q6_K = gguf.GGMLQuantizationType.Q4_K, gguf.GGMLQuantizationType.Q6_K


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(prog="python -m benches.random_qwen3", description=__doc__)
    parser.add_argument("file", type=Path)
    path = parser.parse_args().file
    writer = gguf.GGUFWriter(path, "qwen3")
    add_metadata(writer)
    add_tensors(writer, numpy.random.default_rng(0))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{path}: {path.stat().st_size / 1e6:.0f} MB")


def add_metadata(writer: gguf.GGUFWriter) -> None:
    """Sizes, and a vocabulary that can spell every byte."""
    writer.add_name("random qwen3 0.6b")
    writer.add_block_count(LAYERS)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_context_length(CONTEXT)
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-6)
    bytes_as_text = [*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 256 + 68)]
    tokens = [chr(code) for code in bytes_as_text]
    tokens.append("ab")
    tokens += [f"filler{number}" for number in range(VOCABULARY - 1 - len(tokens))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([*tokens, "<|im_end|>"])
    writer.add_token_types([gguf.TokenType.NORMAL] * (VOCABULARY - 1) + [gguf.TokenType.CONTROL])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(VOCABULARY - 1)
    writer.add_add_bos_token(False)


def add_tensors(writer: gguf.GGUFWriter, random: numpy.random.Generator) -> None:
    """The mixture that llama.cpp's quantiser calls Q4_K_M: some of the most sensitive matrices in Q6_K."""

    def matrix(name: str, rows: int, cols: int, kind: gguf.GGMLQuantizationType) -> None:
        blocks = (q4_k if kind == Q4_K else q6_k)(random, rows * cols // 256)
        writer.add_tensor(f"{name}.weight", blocks.reshape(rows, -1), raw_dtype=kind)

    def ones(name: str, length: int) -> None:
        writer.add_tensor(f"{name}.weight", numpy.ones(length, numpy.float32))

    matrix("token_embd", VOCABULARY, HIDDEN, Q6_K)
    ones("output_norm", HIDDEN)
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        more_bits = layer < LAYERS // 8 or layer >= 7 * LAYERS // 8 or (layer - LAYERS // 8) % 3 == 2
        sensitive = Q6_K if more_bits else Q4_K
        ones(f"{block}.attn_norm", HIDDEN)
        matrix(f"{block}.attn_q", HEADS * HEAD, HIDDEN, Q4_K)
        matrix(f"{block}.attn_k", KEY_HEADS * HEAD, HIDDEN, Q4_K)
        matrix(f"{block}.attn_v", KEY_HEADS * HEAD, HIDDEN, sensitive)
        matrix(f"{block}.attn_output", HIDDEN, HEADS * HEAD, Q4_K)
        ones(f"{block}.attn_q_norm", HEAD)
        ones(f"{block}.attn_k_norm", HEAD)
        ones(f"{block}.ffn_norm", HIDDEN)
        matrix(f"{block}.ffn_gate", FEED_FORWARD, HIDDEN, Q4_K)
        matrix(f"{block}.ffn_up", FEED_FORWARD, HIDDEN, Q4_K)
        matrix(f"{block}.ffn_down", HIDDEN, FEED_FORWARD, sensitive)


def q4_k(random: numpy.random.Generator, count: int) -> Blocks:
    """Blocks of 144 bytes whose values are around 0: the minima, eight times as large a unit, centre them."""
    blocks = random.integers(0, 256, (count, 144), numpy.uint8)
    unit = random.uniform(0.8e-4, 1.6e-4, (count, 1))
    blocks[:, 0:4] = numpy.concatenate([unit, 8 * unit], axis=1).astype(numpy.float16).view(numpy.uint8)
    return blocks


def q6_k(random: numpy.random.Generator, count: int) -> Blocks:
    """Blocks of 210 bytes with values around 0."""
    blocks = random.integers(0, 256, (count, 210), numpy.uint8)
    unit = random.uniform(1e-5, 2e-5, (count, 1))
    blocks[:, 208:210] = unit.astype(numpy.float16).view(numpy.uint8)
    return blocks


if __name__ == "__main__":
    main()
