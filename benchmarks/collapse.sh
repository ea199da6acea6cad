#!/usr/bin/env bash
# Trains a VAE with two hidden layers, 784-200-200-z50, on static MNIST from several starts and with several objectives, for five epochs, and
# prints the best validation loss of each of SEEDS (0 1 2) in nats. A fit that collapses at once stays at the entropy of independent pixels, 206 nats.
set -euo pipefail
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
out="${OUT:-runs/collapse}"
row() {
  local name="$1"; shift
  for seed in ${SEEDS:-0 1 2}; do
    pyro-lvm train --data.source mnist-static --model.hidden '[200,200]' --model.latent_dim 50 --fit.epochs 5 --fit.learning_rate 1e-3 \
      --fit.patience null "$@" --model.seed "$seed" --fit.seed "$seed" --overwrite --out "$out/$name-$seed" > "$out/$name-$seed.log"
    echo "$name, seed $seed: $(tail -n 1 "$out/$name-$seed.log")"
  done
}
mkdir -p "$out"
row plain
row he --model.init he
row warm-up --fit.warmup_epochs 5
row stl --fit.objective stl
row analytic --fit.analytic_kl true
row gated --model.network gated
row tanh --model.activation tanh --model.init glorot
row one-layer --model.hidden '[200]'
