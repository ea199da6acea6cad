#!/usr/bin/env bash
# Computes the MNIST tables of docs/results.md: benchmarks/static_mnist.sh NAME trains the model of one row and scores the whole test
# set with PARTICLES draws (5000 by default) from PROPOSAL (guide by default, as most of those tables are of the guide).
# Needs PYRO_LVM_DATA or a network connection for the data. A row uses one thread, so that two rows can run on two cores.
set -euo pipefail
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
budget=(--model.network gated --model.hidden '[300,300]' --model.latent_dim 40 --fit.epochs 120 --fit.warmup_epochs 20
        --fit.batch_size 250 --fit.learning_rate 2e-3 --fit.schedule cosine)
shorter=(--model.init he --fit.epochs 60)  # He's initialization needs fewer epochs
wide=("${shorter[@]}" --model.decoder_hidden '[600,300]')  # in the decoder of the VampPrior paper's hierarchy, each level has its own first layer of 300 units
case "$1" in
  static-standard) row=(--data.source mnist-static) ;;
  static-mixture)  row=(--data.source mnist-static --model.prior mixture --model.num_components 500) ;;
  static-vamp)     row=(--data.source mnist-static --model.prior vamp --model.num_components 500) ;;
  static-maf)      row=(--data.source mnist-static --model.prior maf --model.flow_transforms 4 --model.flow_hidden '[256,256]') ;;
  static-iaf)      row=(--data.source mnist-static --model.encoder iaf --model.flow_transforms 2 --model.flow_hidden '[256,256]' --model.flow_context 64) ;;
  static-hvae-standard) row=(--data.source mnist-static --model.structure stacked) ;;
  static-hvae-vamp) row=(--data.source mnist-static --model.structure stacked --model.prior vamp --model.num_components 500) ;;
  he-standard)     row=(--data.source mnist-static "${shorter[@]}") ;;
  he-mixture)      row=(--data.source mnist-static --model.prior mixture --model.num_components 500 "${shorter[@]}") ;;
  he-maf)          row=(--data.source mnist-static --model.prior maf --model.flow_transforms 4 --model.flow_hidden '[256,256]' "${shorter[@]}") ;;
  he-iaf)          row=(--data.source mnist-static --model.encoder iaf --model.flow_transforms 2 --model.flow_hidden '[256,256]' --model.flow_context 64
                        "${shorter[@]}") ;;
  he-hvae-standard) row=(--data.source mnist-static --model.structure stacked "${shorter[@]}") ;;
  he-vamp)         row=(--data.source mnist-static --model.prior vamp --model.num_components 500 "${shorter[@]}") ;;
  he-hvae-vamp)    row=(--data.source mnist-static --model.structure stacked --model.prior vamp --model.num_components 500 "${shorter[@]}") ;;
  he-vamp-wide)    row=(--data.source mnist-static --model.prior vamp --model.num_components 500 "${wide[@]}") ;;
  he-hvae-vamp-wide) row=(--data.source mnist-static --model.structure stacked --model.prior vamp --model.num_components 500 "${wide[@]}") ;;
  he-vamp-120)     row=(--data.source mnist-static --model.prior vamp --model.num_components 500 --model.init he) ;;
  he-hvae-vamp-120) row=(--data.source mnist-static --model.structure stacked --model.prior vamp --model.num_components 500 --model.init he) ;;
  static-vq)  row=(--data.source mnist-static --model.encoder vq --model.prior uniform --model.num_codes 1024 --model.num_slots 8 --model.latent_dim 16
                   --fit.epochs 60 --fit.warmup_epochs 0) ;;
  static-fsq) row=(--data.source mnist-static --model.encoder fsq --model.prior uniform --model.fsq_levels '[8,5,5,5]' --model.num_slots 8
                   --fit.epochs 60 --fit.warmup_epochs 0) ;;
  dynamic-standard) row=(--data.source mnist) ;;
  dynamic-vamp)    row=(--data.source mnist --model.prior vamp --model.num_components 500) ;;
  *) echo "unknown row: $1"; exit 2 ;;
esac
pyro-lvm train "${budget[@]}" "${row[@]}" --out "runs/mnist/$1"
pyro-lvm evaluate "runs/mnist/$1" --num_particles "${PARTICLES:-5000}" --proposal "${PROPOSAL:-guide}"
