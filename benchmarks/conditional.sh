#!/usr/bin/env bash
# What labels are worth on dynamically binarized MNIST: one recipe with and without the label as a condition, three seeds each, and the labels that
# the conditional model finds in images. Finished runs are kept, so that the script can be started again. Needs PYRO_LVM_DATA or a network connection.
set -euo pipefail
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
out="${OUT:-runs/conditional}"
recipe=(--over seed 0 1 2 --over model.prior standard --data.source mnist --model.hidden 256 --model.latent_dim 20 --fit.epochs "${EPOCHS:-40}"
        --fit.batch_size 250 --fit.learning_rate 2e-3 --fit.schedule cosine --evaluate.num_particles 500 --processes "${PROCESSES:-2}")
pyro-lvm sweep "${recipe[@]}" --out "$out/unconditional"
pyro-lvm sweep "${recipe[@]}" --model.structure conditional --data.condition labels --out "$out/conditional"
python "$(dirname "$0")/conditional.py" "$out/unconditional" "$out/conditional"
