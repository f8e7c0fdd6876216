"""Make the demo model, offline and always the same:  python demo_model.py OUT_DIR

A Llama-architecture folder of 2 MB that MLX loads like any other model. Its weights are built by
hand so that it walks a fixed chain of words: every reply is known in advance and ends by itself,
at any sampling temperature up to about 1:
  * thinking on (default):      <think>THINK_TEXT</think>ANSWER_TEXT
  * enable_thinking=false:      ANSWER_TEXT
  * the request carries tools:  <tool_call>TOOL_JSON</tool_call>
  * a tool result is present:   thinks and answers again, without a second call
  * the prompt has "#loop":     repeats ANSWER_TEXT until max_tokens
A real attention head looks for the markers (<tools>, <tool_response>, #loop) in the prompt; nothing
outside of the weights decides the reply. Needs numpy, safetensors and tokenizers, which every
environment of the engine has.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

SEED = 7
CONTEXT_TOKENS = 4096
VOCABULARY = 1024

THINK_TEXT = "They greet me, so I reply politely now"
ANSWER_TEXT = "Hello! This tiny model runs on the real backend and always says exactly these words."
# Pieces of the tool call; each becomes one vocabulary entry.
TOOL_PIECES = ['{"name": "', "get_weather", '", "arguments": {"', "city", '": "', "Paris", '"}}']
TOOL_JSON = "".join(TOOL_PIECES)

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
PLAIN_ADDED = [
    "<think>", "</think>", "<tool_call>", "</tool_call>", "<tools>", "</tools>",
    "<tool_response>", "</tool_response>", "#loop", "\n\n", *TOOL_PIECES,
]  # fmt: skip

CORPUS = """
The quick brown fox jumps over the lazy dog while the server answers requests.
You are a helpful assistant. You may call one or more functions to assist with the user query.
What is the weather in Paris today? Tell me a short story about a small model on a small machine.
system user assistant tool function parameters type object properties string required description
A gateway passes requests to the backend, counts the tokens, and streams the answer to the client.
Please write a list of numbers: 0 1 2 3 4 5 6 7 8 9 10 11 12 100 1000 true false null.
{"name": "value", "ok": true, "count": 3, "items": [1, 2, 3], "city": "Berlin", "unit": "celsius"}
Say hello. Explain how it works. Why is the sky blue? How are you? Thank you very much indeed.
Eins zwei drei, heute ist das Wetter sch\u00f6n; caf\u00e9, na\u00efve, \u00fcber, stra\u00dfe, \u4f60\u597d, \u3053\u3093\u306b\u3061\u306f.
def main(argv): return [x for x in range(10) if x % 2 == 0]  # a comment in code
"""

CHAT_TEMPLATE = r"""{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\n\n' }}
    {%- endif %}
    {{- "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function signatures within <tools></tools> XML tags:\n<tools>" }}
    {%- for tool in tools %}
        {{- "\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\n</tools>\n\nFor each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags.<|im_end|>\n" }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>\n' }}
    {%- elif message.role == 'assistant' %}
        {{- '<|im_start|>assistant\n' + content }}
        {%- for tool_call in message.tool_calls or [] %}
            {%- set tool_call = tool_call.function if tool_call.function else tool_call %}
            {{- '\n<tool_call>\n{"name": "' + tool_call.name + '", "arguments": ' }}
            {{- tool_call.arguments if tool_call.arguments is string else tool_call.arguments | tojson }}
            {{- '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == 'tool' %}
        {{- '<|im_start|>user\n<tool_response>\n' + content + '\n</tool_response><|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}
"""


def make_tokenizer() -> Tokenizer:
    tok = Tokenizer(models.BPE(byte_fallback=False))
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        min_frequency=2,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    # The scripted words are repeated so that each becomes a single token.
    text = [line for line in CORPUS.splitlines() if line] * 2
    text += [THINK_TEXT, ANSWER_TEXT] * 60
    tok.train_from_iterator(text, trainer)
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    tok.add_tokens([AddedToken(t, special=False, normalized=False) for t in PLAIN_ADDED])
    return tok


def tensor_shapes(c: dict) -> dict[str, tuple[int, ...]]:
    h, inter, v = c["hidden_size"], c["intermediate_size"], c["vocab_size"]
    d = c["head_dim"]
    q, kv = c["num_attention_heads"] * d, c["num_key_value_heads"] * d
    s: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (v, h)}
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        s[p + "input_layernorm.weight"] = (h,)
        s[p + "self_attn.q_proj.weight"] = (q, h)
        s[p + "self_attn.k_proj.weight"] = (kv, h)
        s[p + "self_attn.v_proj.weight"] = (kv, h)
        s[p + "self_attn.o_proj.weight"] = (h, q)
        s[p + "post_attention_layernorm.weight"] = (h,)
        s[p + "mlp.gate_proj.weight"] = (inter, h)
        s[p + "mlp.up_proj.weight"] = (inter, h)
        s[p + "mlp.down_proj.weight"] = (h, inter)
    s["model.norm.weight"] = (h,)
    s["lm_head.weight"] = (v, h)
    return s


def make_config(ids: dict[str, int]) -> dict:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": CONTEXT_TOKENS,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "rope_scaling": None,
        "attention_bias": False,
        "mlp_bias": False,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
        "torch_dtype": "float32",
        "use_cache": True,
    }


def random_weights(cfg: dict) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(SEED)
    out = {}
    for name, shape in tensor_shapes(cfg).items():
        if name.endswith("norm.weight"):
            out[name] = np.ones(shape, np.float32)
        else:
            std = 0.5 if "embed" in name else 1.0 / math.sqrt(shape[-1])
            out[name] = (rng.standard_normal(shape) * std).astype(np.float32)
    return out


def scripted_weights(cfg: dict, tok: Tokenizer) -> dict[str, np.ndarray]:
    w = random_weights(cfg)
    h, v, d = cfg["hidden_size"], cfg["vocab_size"], cfg["head_dim"]
    ids = tok.get_vocab()
    enc = lambda t: tok.encode(t, add_special_tokens=False).ids  # noqa: E731

    # The residual stream stays the current token's embedding: every block
    # except head 0..2 of layer 0 writes nothing.
    for name in w:
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            w[name][:] = 0.0

    think, answer = enc(THINK_TEXT), enc(ANSWER_TEXT)
    tool = [ids[p] for p in TOOL_PIECES]
    nl, nlnl = enc("\n"), enc("\n\n")
    assert len(nl) == 1 and len(nlnl) == 1, (nl, nlnl)
    start, start_nothink = nl[0], nlnl[0]
    t = lambda s: ids[s]  # noqa: E731
    path_think = [start, t("<think>"), *think, t("</think>"), *answer, t("<|im_end|>")]
    path_tool = [t("<tool_call>"), *tool, t("</tool_call>"), t("<|im_end|>")]
    states = list(dict.fromkeys([start_nothink, *path_think[:-1], *path_tool[:-1]]))
    n = len(path_think) - 1 + len(path_tool) - 1 + 1
    assert len(states) == n, "a scripted token occurs twice: " + repr(
        [tok.id_to_token(i) for i in [*path_think, *path_tool]]
    )
    reserved = 8
    assert len(states) + reserved <= h, (len(states), h)

    # Embeddings: orthonormal for scripted tokens; the rest lives in the
    # remaining random directions. Reserved channels follow.
    rng = np.random.default_rng(SEED + 1)
    body = h - reserved
    CONST, TOOLS, RESP, LOOP, M_TOOLS, M_RESP, M_LOOP = range(body, body + 7)
    basis, _ = np.linalg.qr(rng.standard_normal((body, body)))
    emb = np.zeros((v, h), np.float64)
    free = basis[:, len(states):] if len(states) < body else basis
    r = rng.standard_normal((v, free.shape[1]))
    emb[:, :body] = (r / np.linalg.norm(r, axis=1, keepdims=True)) @ free.T
    for k, s in enumerate(states):
        emb[s, :body] = basis[:, k]
    emb[:, CONST] = 1.0
    markers = [("<tools>", M_TOOLS, TOOLS), ("<tool_response>", M_RESP, RESP), ("#loop", M_LOOP, LOOP)]
    for name, m, _flag in markers:
        emb[t(name), m] = 1.0

    # Layer 0, heads 0..2: "has this marker occurred?" The score sits in the
    # slowest rotary pair, so it does not depend on the position.
    p = "model.layers.0.self_attn."
    group = cfg["num_attention_heads"] // cfg["num_key_value_heads"]
    assert cfg["num_attention_heads"] >= 3
    qw, kw, vw, ow = (w[p + x + "_proj.weight"] for x in "qkvo")
    qw[: 3 * d] = 0.0
    n_kv = (2 // group) + 1
    kw[: n_kv * d] = 0.0
    vw[: n_kv * d] = 0.0
    norm2, norm3 = math.sqrt(h / 2), math.sqrt(h / 3)  # after RMSNorm
    gain = math.sqrt(30.0 * math.sqrt(d) / (norm2 * norm3))
    for head, (_name, m, flag) in enumerate(markers):
        g, slot = head // group, head % group
        # slot 0 uses the slowest pair, slot 1 the second slowest, ...
        ch = d // 2 - 1 - slot
        qw[head * d + ch, CONST] = gain
        kw[g * d + ch, m] = gain
        vw[g * d + slot, m] = 1.0 / norm3
        ow[flag, head * d + slot] = 1.0

    # Output head: one successor per state; three switches.
    S = 10.0
    out = np.zeros((v, h), np.float64)
    for path in (path_think, path_tool):
        for a, b in zip(path[:-1], path[1:]):
            out[b, :body] += S * emb[a, :body]
    out[answer[0], :body] += S * emb[start_nothink, :body]
    for s in (start, start_nothink):  # tools present: call instead of answering
        out[t("<tool_call>"), :body] += 0.7 * S * emb[s, :body]
    out[t("<tool_call>"), TOOLS] += 0.6 * S
    out[t("<tool_call>"), RESP] -= 1.5 * S
    out[answer[0], :body] += 0.7 * S * emb[answer[-1], :body]  # loop: start over
    out[answer[0], LOOP] += 0.6 * S
    # The rest of the vocabulary is weakly suppressed.
    scripted = {*states, t("<|im_end|>")}
    for i in range(v):
        if i not in scripted:
            out[i, CONST] = -0.3 * S
            out[i, :body] += 0.05 * S * rng.standard_normal(body) / math.sqrt(body)
    for special in ("<|endoftext|>", "<|im_start|>"):
        out[t(special), CONST] = -2.0 * S
    w["model.embed_tokens.weight"] = emb.astype(np.float32)
    w["lm_head.weight"] = out.astype(np.float32)
    return w


def main(out: Path) -> None:
    out.mkdir(parents=True)
    tok = make_tokenizer()
    ids = tok.get_vocab()
    assert tok.get_vocab_size() <= VOCABULARY, tok.get_vocab_size()
    config = make_config(ids)

    def dump(name: str, value: dict) -> None:
        (out / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")

    tok.save(str(out / "tokenizer.json"))
    dump("tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": None,
        "model_max_length": CONTEXT_TOKENS,
        "clean_up_tokenization_spaces": False,
        "add_bos_token": False,
        "chat_template": CHAT_TEMPLATE,
    })  # fmt: skip
    (out / "chat_template.jinja").write_text(CHAT_TEMPLATE, "utf-8")
    dump("generation_config.json", {
        "bos_token_id": config["bos_token_id"],
        "eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]],
        "pad_token_id": config["pad_token_id"],
        "do_sample": True,
        "temperature": 0.6,
        "top_p": 0.95,
        "top_k": 20,
        "max_new_tokens": 512,
    })  # fmt: skip
    save_file(scripted_weights(config, tok), str(out / "model.safetensors"), metadata={"format": "mlx"})
    (out / "model.safetensors").chmod(0o644)
    # Last, for a folder with a config.json counts as made.
    dump("config.json", config)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
