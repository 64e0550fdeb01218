"""Train the scene-graph network on prepared examples."""

import argparse
import json
import math
import random
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from pipeline.parsing.scene_graph.decode import Node, candidate_pairs, nodes_of_tags, tags_of_nodes
from pipeline.parsing.scene_graph.features import Phrases, Vocabulary, arc_codes, letter_rows
from pipeline.parsing.scene_graph.lexicon import Lexicon, singular
from pipeline.parsing.score import score
from pipeline.parsing.training.scene_graph_data import read_examples
from pipeline.parsing.training.scene_graph_net import Batch, NetSettings, SceneGraphNet


class Data:
    """Examples as padded tensors."""

    def __init__(self, examples, vocab, heads, tails, lexicon, buckets, device, labels, types=None):
        self.examples = examples
        N = len(examples)
        L = max(len(e.words) for e in examples)
        self.types = types if types is not None else {"": 0}
        self.lemmas = dict(heads)  # string -> id, closed first
        lem_cache = {}
        self.pos_rows, self.dep_rows = ({x: i for i, x in enumerate(r)} for r in labels)
        self.num_deprels, self.num_tails = len(self.dep_rows), len(tails)
        phrases = Phrases(tails)
        places = []
        qoff = [0]
        pos = np.zeros((N, L), np.int64)
        dep = np.zeros((N, L), np.int64)
        hd = np.zeros((N, L), np.int64)
        words = np.zeros((N, L), np.int64)
        types_ = np.zeros((N, L), np.int64)
        lem = np.full((N, L), -1, np.int64)
        tags = np.full((N, L), -100, np.int64)
        nodes = []
        pairs = []
        noff = [0]
        poff = [0]
        for n, e in enumerate(examples):
            for t, w in enumerate(e.words):
                w = w.lower()
                words[n, t] = vocab.row(w)
                types_[n, t] = self.types.setdefault(w, len(self.types))
                if w not in lem_cache:
                    lem_cache[w] = lexicon.lemma(w)
                lem[n, t] = self.lemmas.setdefault(lem_cache[w], len(self.lemmas))
            k = len(e.words)
            pos[n, :k] = [self.pos_rows.get(x, 0) for x in e.pos]
            dep[n, :k] = [self.dep_rows.get(x, 0) for x in e.deprels]
            hd[n, :k] = e.heads
            places += [(t, z) for t, z in phrases.places([w.lower() for w in e.words])]
            qoff.append(len(places))
            ns = [Node(*x) for x in e.nodes]
            if e.is_complete or ns:
                tags[n, : len(e.words)] = tags_of_nodes(ns, len(e.words))
            rel = {}
            for s, p, o in e.relations:
                rel.setdefault((s, o), p)
            att = {(s, a) for s, a in e.attributes}
            for x in ns:
                nodes.append((n, x.start, x.end - 1))
            for i, j in candidate_pairs(ns):
                h = t = -1
                if (i, j) in rel:
                    a, _, b = rel[i, j].partition(" ")
                    h = self.lemmas.setdefault(a, len(self.lemmas))
                    t = tails.get(b, -1)
                pairs.append((i, j, ns[j].is_attribute, (i, j) in rel or (i, j) in att, h, t))
            noff.append(len(nodes))
            poff.append(len(pairs))
        to = lambda x: torch.as_tensor(np.asarray(x), device=device)
        self.lengths = to([len(e.words) for e in examples])
        self.words, self.type_ids, self.lem, self.tags = to(words), to(types_), to(lem), to(tags)
        self.nodes, self.pairs = to(nodes), to(pairs)
        self.noff, self.poff, self.qoff, self.places = (
            to(noff),
            to(poff),
            to(qoff),
            to(np.array(places).reshape(-1, 2)),
        )
        self.pos, self.dep = to(pos), to(dep)
        self.hd, self.depnp, self.L = hd, dep, L
        nd = np.array(nodes)
        pr = np.array([p[:2] for p in pairs])
        base = np.repeat(np.array(noff[:-1]), np.diff(poff))
        self.arcs = to(self.arc_codes(nd, pr + base[:, None]))
        self.lemma_strings = {i: s for s, i in self.lemmas.items()}
        self.vocab_letters = letters_table(self.types, buckets, device)

    def arc_codes(self, nodes, pairs):
        """Nodes with captions of the data set, pairs of rows of nodes."""
        if getattr(self, "blind", False):
            return np.zeros(len(pairs), np.int64)
        start = nodes[:, 0] * self.L
        heads = (self.hd + np.arange(len(self.hd))[:, None] * self.L).reshape(-1)
        return arc_codes(
            nodes[:, 1] + start,
            nodes[:, 2] + start,
            pairs,
            heads,
            self.depnp.reshape(-1),
            self.num_deprels,
        )

    def ranges(self, off, idx):
        start, count = off[idx], off[idx + 1] - off[idx]
        which = torch.repeat_interleave(torch.arange(len(idx), device=idx.device), count)
        first = torch.cumsum(count, 0) - count
        return (
            which,
            torch.arange(len(which), device=idx.device) - first[which] + start[which],
            first,
        )

    def batch(self, idx):
        lengths = self.lengths[idx]
        L = int(lengths.max())
        words = self.words[idx][:, :L]
        letters = self.vocab_letters[self.type_ids[idx][:, :L]]
        wn, ni, nfirst = self.ranges(self.noff, idx)
        nodes = torch.cat([wn[:, None], self.nodes[ni][:, 1:]], 1)
        wp, pi, _ = self.ranges(self.poff, idx)
        pr = self.pairs[pi]
        pairs = pr[:, :2] + nfirst[wp][:, None]
        wq, qi, _ = self.ranges(self.qoff, idx)
        at = torch.zeros(len(idx), L, self.num_tails, dtype=torch.bool, device=idx.device)
        q = self.places[qi]
        at[wq, q[:, 0], q[:, 1]] = True
        return (
            Batch(
                words,
                letters,
                lengths,
                self.pos[idx][:, :L],
                self.dep[idx][:, :L],
                nodes,
                pairs,
                self.arcs[pi],
                at,
            ),
            self.tags[idx][:, :L],
            pr[:, 2:],
            self.lem[idx][:, :L],
        )


def letters_table(types, buckets, device):
    rows = [letter_rows(w, buckets) if w else [] for w in types]
    K = min(24, max(map(len, rows)))
    out = np.zeros((len(rows), K), np.int64)
    for i, r in enumerate(rows):
        out[i, : min(K, len(r))] = r[:K]
    return torch.as_tensor(out, device=device)


def losses(net, b, tags, target, lem):
    H = net.encode(b)
    tl = net.tags(H)
    l_tag = F.cross_entropy(
        tl.reshape(-1, 5), tags.reshape(-1), ignore_index=-100, reduction="sum"
    ) / len(tags)
    z = net.pair_vectors(H, b)
    isatt, y, h, t = target.unbind(1)
    logit = net.joined(z).gather(1, isatt[:, None]).squeeze(1)
    l_pair = F.binary_cross_entropy_with_logits(logit, y.float(), reduction="sum") / len(tags)
    r = (h >= 0).nonzero().squeeze(1)
    if len(r) == 0:
        return l_tag, l_pair, l_pair * 0, l_pair * 0
    cap = b.nodes[b.pairs[r, 0], 0]
    mask = torch.arange(H.shape[1], device=H.device)[None] < b.lengths[cap][:, None]
    lp = net.predicate_heads(z[r], H[cap], mask)
    A = net.settings.heads
    said = (lem[cap] == h[r][:, None]) & mask
    closed = F.one_hot(h[r].clamp(max=A), A + 1)[:, :A].bool() & ~said.any(1, keepdim=True)
    ok = torch.cat([closed, said], 1)
    got = torch.logsumexp(lp.masked_fill(~ok, -1e9), 1)
    known = ok.any(1)
    l_head = -(got * known).sum() / len(tags)
    tt = t[r]
    l_tail = F.cross_entropy(net.tails(z[r], r, b), tt, ignore_index=-1, reduction="sum") / len(
        tags
    )
    return l_tag, l_pair, l_head, l_tail


@torch.no_grad()
def predict(nets, data, tails, lexicon, bs=1000, threshold=0.5):
    """Average the nets' probabilities and decode to strings."""
    dev = data.words.device
    tail_strings = {i: s for s, i in tails.items()}
    out = []
    for st in range(0, len(data.examples), bs):
        idx = torch.arange(st, min(st + bs, len(data.examples)), device=dev)
        b, _, _, lem = data.batch(idx)
        Hs = [n.encode(b) for n in nets]
        tp = sum(n.tags(H).softmax(-1) for n, H in zip(nets, Hs)).argmax(-1).cpu().numpy()
        lens = b.lengths.tolist()
        allnodes = [nodes_of_tags(tp[i, : lens[i]].tolist()) for i in range(len(idx))]
        nd, pr, first = [], [], []
        for i, ns in enumerate(allnodes):
            first.append(len(nd))
            pr += [(x + len(nd), y + len(nd)) for x, y in candidate_pairs(ns)]
            nd += [(i, x.start, x.end - 1) for x in ns]
        b.nodes = torch.tensor(nd, device=dev).reshape(-1, 3)
        b.pairs = torch.tensor(pr, device=dev).reshape(-1, 2)
        glob = np.array(nd).reshape(-1, 3).copy()
        glob[:, 0] += st
        b.arcs = torch.as_tensor(data.arc_codes(glob, np.array(pr).reshape(-1, 2)), device=dev)
        zs = [n.pair_vectors(H, b) for n, H in zip(nets, Hs)]
        which = torch.arange(len(pr), device=dev)
        jp = sum(n.joined(z).sigmoid() for n, z in zip(nets, zs)) / len(nets)
        cap = b.nodes[b.pairs[:, 0], 0]
        mask = torch.arange(Hs[0].shape[1], device=dev)[None] < b.lengths[cap][:, None]
        hp = sum(n.predicate_heads(z, H[cap], mask).exp() for n, z, H in zip(nets, zs, Hs)) / len(
            nets
        )
        A = nets[0].settings.heads
        full = torch.zeros(len(pr), len(data.lemmas), device=dev)
        full[:, :A] = hp[:, :A]
        full.scatter_add_(1, lem[cap].clamp(min=0), hp[:, A:] * mask)
        hid = full.argmax(1).tolist()
        tid = sum(n.tails(z, which, b).softmax(-1) for n, z in zip(nets, zs)).argmax(-1).tolist()
        jp = jp.cpu().numpy()
        capl = cap.tolist()
        per = [[] for _ in allnodes]
        for k, (x, y) in enumerate(pr):
            per[capl[k]].append((x, y, k))
        for i, ns in enumerate(allnodes):
            e = data.examples[st + i]
            names = [
                (lexicon.attribute_name if n.is_attribute else lexicon.object_name)(
                    e.text(n.start, n.end)
                )
                for n in ns
            ]
            f = first[i]
            trip = []
            used = set()
            best = {}
            chosen = []
            for x, y, k in per[i]:
                x -= f
                y -= f
                att = ns[y].is_attribute
                p = float(jp[k, int(att)])
                if p > threshold:
                    chosen.append((x, y, k))
                    used |= {x, y}
                for q in {x, y}:
                    if p > best.get(q, (0,))[0]:
                        best[q] = (p, x, y, k)
            for q in range(len(ns)):
                if (
                    q not in used
                    and q in best
                    and best[q][0] > (0.0 if ns[q].is_attribute else 0.1)
                ):
                    chosen.append(best[q][1:])
                    used |= {best[q][1], best[q][2]}
            for x, y, k in set(chosen):
                if ns[y].is_attribute:
                    trip.append((names[x], "is", names[y]))
                    continue
                pred = (data.lemma_strings[hid[k]] + " " + tail_strings[tid[k]]).strip()
                trip.append(
                    (names[x], pred, names[y])
                    if x != y
                    else (singular(names[x]), pred, singular(names[x]))
                )
            out.append(trip or [(names[q],) for q in range(len(ns)) if not ns[q].is_attribute])
    return out


def build(folder, buckets, device, min_word=2, min_head=3, min_tail=2, limit=None, hold=0):
    lexicon = Lexicon.from_json(json.loads((folder / "lexicon.json").read_text()))
    train, dev = read_examples(folder / "train.jsonl.gz"), read_examples(folder / "dev.jsonl.gz")
    if limit:
        train = train[:limit]
    held = []
    if hold:
        order = list(range(len(train)))
        random.Random(7).shuffle(order)
        held = [train[i] for i in order[:hold]]
        train = [train[i] for i in order[hold:]]
    wc = Counter(w.lower() for e in train for w in e.words)
    vocab = Vocabulary(w for w, c in wc.most_common() if c >= min_word)
    hc = Counter(p.split(" ")[0] for e in train for _, p, _ in e.relations)
    tc = Counter(p.partition(" ")[2] for e in train for _, p, _ in e.relations)
    heads = {h: i for i, h in enumerate(h for h, c in hc.most_common() if c >= min_head)}
    tails = {t: i for i, t in enumerate(t for t, c in tc.most_common() if c >= min_tail)}
    labels = (
        ["", *sorted({x for e in train for x in e.pos})],
        ["", *sorted({x for e in train for x in e.deprels})],
    )
    dtrain = Data(train, vocab, heads, tails, lexicon, buckets, device, labels)
    ddev = Data(dev, vocab, heads, tails, lexicon, buckets, device, labels)
    dheld = Data(held, vocab, heads, tails, lexicon, buckets, device, labels) if held else None
    return vocab, heads, tails, lexicon, dtrain, ddev, dheld


def blinded(data):
    for d in data[4:]:
        if d is not None:
            d.pos.zero_()
            d.dep.zero_()
            d.arcs.zero_()
            d.depnp[:] = 0
            d.blind = True


def train(args, data, log=print):
    vocab, heads, tails, lexicon, dtrain, ddev, dheld = data
    device = dtrain.words.device
    torch.manual_seed(args.seed)
    settings = NetSettings(
        len(vocab),
        args.buckets,
        len(heads),
        len(tails),
        len(dtrain.pos_rows),
        dtrain.num_deprels,
        args.word_width,
        args.letter_width,
        args.width,
        args.layers,
        args.pair_width,
        args.key_width,
        args.pos_width,
        args.deprel_width,
        args.dropout,
        args.word_dropout,
        args.encoder,
    )
    net = SceneGraphNet(settings).to(device)
    ema = SceneGraphNet(settings).to(device).eval()
    ema.load_state_dict(net.state_dict())
    opt = torch.optim.AdamW(net.parameters(), lr=args.lr, weight_decay=args.wd, betas=(0.9, 0.98))
    N = len(dtrain.examples)
    steps = args.epochs * math.ceil(N / args.batch)
    step = 0
    log(f"parameters {sum(p.numel() for p in net.parameters())} {settings}")
    best = (0, 0)
    t0 = time.time()
    for epoch in range(args.epochs):
        net.train()
        tot = np.zeros(4)
        perm = torch.randperm(N, device=device)
        for i in range(0, N, args.batch):
            done = step / steps
            if args.seconds:
                done = max(done, (time.time() - t0) / args.seconds)
            if done >= 1:
                break
            lr = args.lr * min(1, step / 300) * max(0.01, 0.5 * (1 + math.cos(math.pi * done)))
            for g in opt.param_groups:
                g["lr"] = lr
            ls = losses(net, *dtrain.batch(perm[i : i + args.batch]))
            opt.zero_grad(set_to_none=True)
            sum(ls).backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            opt.step()
            step += 1
            if step % 50 == 0:
                tot += np.array([x.item() for x in ls])
            d = min(args.ema, (1 + step) / (10 + step))
            with torch.no_grad():
                for a, b in zip(ema.parameters(), net.parameters()):
                    a.lerp_(b, 1 - d)
        last = epoch == args.epochs - 1 or (bool(args.seconds) and time.time() - t0 >= args.seconds)
        if epoch % args.eval_every == args.eval_every - 1 or last:
            sc = score(predict([ema], ddev, tails, lexicon), [e.triples for e in ddev.examples])
            log(
                f"epoch {epoch} loss {np.round(tot / max(1, N // args.batch // 50), 3)} dev {sc.set_match:.2f} {sc.spice_f1:.2f} {time.time() - t0:.0f}s"
            )
            if last and dheld:
                sc = score(
                    predict([ema], dheld, tails, lexicon), [e.triples for e in dheld.examples]
                )
                log(f"FINAL held {sc.set_match:.2f} {sc.spice_f1:.2f} epochs {epoch + 1}")
        if last:
            break
    return ema


def options():
    p = argparse.ArgumentParser()
    p.add_argument("folder", type=Path)
    p.add_argument("out", type=Path)
    p.add_argument("--device", default="cpu")
    p.add_argument("--limit", type=int)
    p.add_argument("--blind", action="store_true")
    for k, v in dict(
        buckets=4096,
        word_width=128,
        letter_width=64,
        width=256,
        layers=1,
        pair_width=192,
        key_width=64,
        pos_width=16,
        deprel_width=32,
        dropout=0.3,
        word_dropout=0.1,
        encoder="lstm",
        lr=1e-3,
        wd=0.01,
        batch=128,
        epochs=20,
        seed=0,
        ema=0.998,
        eval_every=1,
        hold=0,
        seconds=0,
    ).items():
        p.add_argument("--" + k.replace("_", "-"), type=type(v), default=v)
    return p


if __name__ == "__main__":
    args = options().parse_args()
    data = build(args.folder, args.buckets, args.device, limit=args.limit, hold=args.hold)
    if args.blind:
        blinded(data)
    net = train(args, data, lambda m: print(m, flush=True))
    args.out.mkdir(parents=True, exist_ok=True)
    torch.save(
        {
            "settings": asdict(net.settings),
            "words": list(data[0].words),
            "heads": list(data[1]),
            "tails": list(data[2]),
            "pos": list(data[4].pos_rows),
            "deprels": list(data[4].dep_rows),
            "state": {k: v.half().cpu() for k, v in net.state_dict().items()},
        },
        args.out / "net.pt",
    )
