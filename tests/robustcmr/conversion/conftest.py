"""Made-up checkpoints in the released layouts, and their forward passes one pair at a time in NumPy."""

import argparse
import math

import numpy as np
import pytest
import torch


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def l2(x):
    return x / (np.sqrt((x**2).sum(-1, keepdims=True)) + 1e-8)


class Rng:
    """Random tensors of the size that keeps scores apart."""

    def __init__(self, seed):
        self.g = torch.Generator().manual_seed(seed)

    def __call__(self, *shape, scale=0.5):
        return torch.randn(*shape, generator=self.g) * scale

    def linear(self, name, inputs, outputs, scale=1.5):
        return {
            f"{name}.weight": self(outputs, inputs, scale=scale / math.sqrt(inputs)),
            f"{name}.bias": self(outputs),
        }

    def norm(self, name, width):
        return {
            f"{name}.weight": 1 + self(width, scale=0.2),
            f"{name}.bias": self(width),
            f"{name}.running_mean": self(width),
            f"{name}.running_var": self(width).abs() + 0.3,
            f"{name}.num_batches_tracked": torch.tensor(77),
        }

    def gru(self, name, inputs, hidden):
        state = {}
        for way in ("", "_reverse"):
            state[f"{name}.weight_ih_l0{way}"] = self(3 * hidden, inputs)
            state[f"{name}.weight_hh_l0{way}"] = self(3 * hidden, hidden)
            state[f"{name}.bias_ih_l0{way}"] = self(3 * hidden)
            state[f"{name}.bias_hh_l0{way}"] = self(3 * hidden)
        return state


def sgraf_states(kind="SGR", dim=8, width=6, regions=4, words=20, word_dim=5, sim_dim=7, steps=3, seed=0):
    """Image, text and similarity encoder."""
    r = Rng(seed)
    sim = {
        **r.linear("v_global_w.embedding_local.0", dim, dim),
        **r.norm("v_global_w.embedding_local.1", regions),
        **r.linear("v_global_w.embedding_global.0", dim, dim),
        **r.norm("v_global_w.embedding_global.1", dim),
        **r.linear("v_global_w.embedding_common.0", dim, 1),
        **r.linear("t_global_w.embedding_local.0", dim, dim),
        **r.linear("t_global_w.embedding_global.0", dim, dim),
        **r.linear("t_global_w.embedding_common.0", dim, 1),
        **r.linear("sim_tranloc_w", dim, sim_dim),
        **r.linear("sim_tranglo_w", dim, sim_dim),
        **r.linear("sim_eval_w", sim_dim, 1),
    }
    if kind == "SGR":
        for step in range(steps):
            for name, scale in (("graph_query_w", 2.0), ("graph_key_w", 2.0), ("sim_graph_w", 3.0)):
                sim |= r.linear(
                    f"SGR_module.{step}.{name}", sim_dim, sim_dim, scale
                )  # large: nodes stay apart
    else:
        sim |= r.linear("SAF_module.attn_sim_w", sim_dim, 1) | r.norm("SAF_module.bn", 1)
    image = r.linear("fc", width, dim)
    text = {"embed.weight": r(words, word_dim), **r.gru("cap_rnn", word_dim, dim)}
    return [image, text, sim]


def vse_states(dim=8, width=6, hidden=5, words=20, word_dim=4, mlp=True, reader="gru", seed=0):
    """Image and text encoder."""
    r = Rng(seed)
    image = {**r.linear("fc", width, dim)}
    if mlp:
        image |= r.linear("mlp.layers.0", width, hidden) | r.linear("mlp.layers.1", hidden, dim)
        image |= r.norm("mlp.bns.0", hidden) | r.norm("mlp.bns.1", dim)
    text = {"embed.weight": r(words, word_dim), **r.gru("rnn", word_dim, dim)}
    for state in (image, text):
        state |= r.gru(f"gpool.{reader}", 32, 32)
        state |= {"gpool.linear.weight": r(1, 32, scale=0.1)}
    return [image, text]


class Slow:
    """Weights of one part in double precision, and the modules they make up."""

    def __init__(self, state):
        self.state = {key: value.double().numpy() for key, value in state.items()}

    def __getitem__(self, key):
        return self.state[key]

    def linear(self, name, x):
        y = x @ self[f"{name}.weight"].T
        return y + self[f"{name}.bias"] if f"{name}.bias" in self.state else y

    def norm(self, name, x):
        """BatchNorm1d in evaluation mode; channels are the last axis of x."""
        spread = np.sqrt(self[f"{name}.running_var"] + 1e-5)
        return (x - self[f"{name}.running_mean"]) / spread * self[f"{name}.weight"] + self[f"{name}.bias"]

    def one_way(self, name, x, way):
        """x (W, F) -> states (W, H), word after word."""
        wi, wh = self[f"{name}.weight_ih_l0{way}"], self[f"{name}.weight_hh_l0{way}"]
        bi, bh = self[f"{name}.bias_ih_l0{way}"], self[f"{name}.bias_hh_l0{way}"]
        h, states = np.zeros(wh.shape[1]), []
        for word in x:
            (ir, iz, inew), (hr, hz, hnew) = np.split(wi @ word + bi, 3), np.split(wh @ h + bh, 3)
            z = sigmoid(iz + hz)
            h = (1 - z) * np.tanh(inew + sigmoid(ir + hr) * hnew) + z * h
            states.append(h)
        return np.array(states)

    def gru(self, name, x):
        """Both directions averaged, (W, H)."""
        return (self.one_way(name, x, "") + self.one_way(name, x[::-1], "_reverse")[::-1]) / 2


def whole(sim, side, local):
    """The vector of an image or a caption as a whole, from its fragments (L, D)."""
    name = f"{side}_global_w"
    one, all_of_it = sim.linear(f"{name}.embedding_local.0", local), local.mean(0)
    glo = sim.linear(f"{name}.embedding_global.0", all_of_it)
    if side == "v":
        one = sim.norm(f"{name}.embedding_local.1", one.T).T  # channels are the positions of the regions
        glo = sim.norm(f"{name}.embedding_global.1", glo)
    logits = sim.linear(f"{name}.embedding_common.0", np.tanh(one) * np.tanh(glo))[:, 0]
    return l2(softmax(logits) @ local)


def slow_sgraf(states, images, captions):
    """(N, M) scores of images (N, R, F) with captions, each a list of word indices."""
    img, txt, sim = map(Slow, states)
    scores = np.zeros((len(images), len(captions)))
    for j, caption in enumerate(captions):
        words = l2(txt.gru("cap_rnn", txt["embed.weight"][caption]))  # (W, D)
        for i, image in enumerate(np.asarray(images, float)):
            regions = l2(img.linear("fc", image))  # (R, D)
            attention = regions @ words.T
            attention = l2(np.where(attention > 0, attention, 0.1 * attention))  # over the words
            contexts = l2(np.array([softmax(9.0 * attention[:, w]) @ regions for w in range(len(words))]))
            local = l2(sim.linear("sim_tranloc_w", (contexts - words) ** 2))
            glo = l2(sim.linear("sim_tranglo_w", (whole(sim, "v", regions) - whole(sim, "t", words)) ** 2))
            nodes = np.vstack([glo, local])
            if any(key.startswith("SGR") for key in sim.state):
                for step in range(sum(key.endswith("query_w.bias") for key in sim.state)):
                    name = f"SGR_module.{step}"
                    query, key = (sim.linear(f"{name}.graph_{k}_w", nodes) for k in ("query", "key"))
                    edges = np.array([softmax(row) for row in query @ key.T])
                    nodes = np.maximum(sim.linear(f"{name}.sim_graph_w", edges @ nodes), 0)
                vector = nodes[0]
            else:
                gates = sigmoid(sim.norm("SAF_module.bn", sim.linear("SAF_module.attn_sim_w", nodes)))[:, 0]
                vector = l2(gates / (np.abs(gates).sum() + 1e-8) @ nodes)
            scores[i, j] = sigmoid(sim.linear("sim_eval_w", vector))[0]
    return scores


def pooled(part, reader, fragments):
    """Generalised pooling of one set (L, D)."""
    codes = np.zeros((len(fragments), 32))
    for place in range(len(fragments)):
        for k in range(16):
            angle = place / 10000 ** (2 * k / 32)
            codes[place, 2 * k], codes[place, 2 * k + 1] = math.sin(angle), math.cos(angle)
    weights = softmax(part.linear("gpool.linear", part.gru(f"gpool.{reader}", codes))[:, 0] / 0.1)
    return l2(weights @ -np.sort(-fragments, 0))


def slow_vse(states, images, captions, reader="gru"):
    """(N, M) scores."""
    img, txt = map(Slow, states)
    left = []
    for image in np.asarray(images, float):
        fragments = img.linear("fc", image)
        if "mlp.layers.0.weight" in img.state:
            hidden = np.maximum(img.norm("mlp.bns.0", img.linear("mlp.layers.0", image)), 0)
            fragments = fragments + img.linear("mlp.layers.1", hidden)
        left.append(pooled(img, reader, fragments))
    right = [pooled(txt, reader, txt.gru("rnn", txt["embed.weight"][caption])) for caption in captions]
    return np.array(left) @ np.array(right).T


def released_file(path, model, zipped=True, **more):
    """A file as released code writes it."""
    options = argparse.Namespace(data_name="f30k_precomp", module_name="SGR", gpuid="0", no_imgnorm=False)
    document = {"epoch": 11, "model": model, "best_rsum": np.float64(490.3), "opt": options, "Eiters": 9000}
    torch.save({**document, **more}, path, _use_new_zipfile_serialization=zipped)
    return path


class Released:
    sgraf = staticmethod(sgraf_states)
    vse = staticmethod(vse_states)
    slow_sgraf = staticmethod(slow_sgraf)
    slow_vse = staticmethod(slow_vse)
    file = staticmethod(released_file)

    @staticmethod
    def inputs(regions=4, width=6, words=20, n=5, seed=3):
        """Images (n, regions, width) and n captions of 1 to 7 words."""
        rng = np.random.default_rng(seed)
        images = rng.normal(size=(n, regions, width)).astype(np.float32)
        return images, [rng.integers(1, words, length).tolist() for length in (7, 1, 3, 2, 5)[:n]]


@pytest.fixture(scope="session")
def released():
    """Made-up checkpoints and their slow scores."""
    return Released
