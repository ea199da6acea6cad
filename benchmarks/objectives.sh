#!/usr/bin/env bash
# Trains IWAE with k = 1, 5 and 50 draws and DReG with 50 on static and dynamic MNIST, three seeds each, and compares them.
# Network, latents, batches and protocol of the score are those of Burda et al. (2016): 784-200-200-z50 with tanh, Glorot's initialization,
# batches of 20 and a score of 5000 draws from the guide. The published fits took 3280 epochs. The budget here is EPOCHS (200 by default) for
# every row, Adam at LEARNING_RATE (1e-3 by default) with a cosine schedule, no early stopping.
# SOURCES names the data ("mnist-static mnist" by default). Finished runs are kept, so that the script can be started again. Needs
# PYRO_LVM_DATA or a network connection for the data.
set -euo pipefail
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
out="${OUT:-runs/objectives}"
budget=(--model.hidden '[200,200]' --model.activation tanh --model.init glorot --model.latent_dim 50
        --fit.epochs "${EPOCHS:-200}" --fit.batch_size 20
        --fit.learning_rate "${LEARNING_RATE:-1e-3}" --fit.schedule cosine --fit.patience null --processes "${PROCESSES:-2}")
score=(--evaluate.num_particles "${PARTICLES:-5000}" --evaluate.proposal "${PROPOSAL:-guide}" --baselines false)
for source in ${SOURCES:-mnist-static mnist}; do
  pyro-lvm sweep "${budget[@]}" "${score[@]}" --data.source "$source" --fit.objective iwae \
    --over fit.num_particles 1 5 50 --over seed 0 1 2 --out "$out/$source-iwae"
  pyro-lvm sweep "${budget[@]}" "${score[@]}" --data.source "$source" --fit.objective dreg \
    --over fit.num_particles 50 --over seed 0 1 2 --out "$out/$source-dreg"
  pyro-lvm compare "$out/$source-iwae" "$out/$source-dreg" "${score[@]}"
done
