#!/usr/bin/env bash
# Trains the checkpoints of this folder: about 45 minutes on one core, all of Fashion-MNIST (see data/README.md).
# The same machine and versions give the same weights.
set -euo pipefail
cd "$(dirname "$0")"
landscape train lenet5 --data fashion-mnist --epochs 10 -o lenet5_eps0.pt
for eps in 0 0.05 0.1 0.2; do
    landscape train lenet:width=4 --data fashion-mnist --eps "$eps" --epochs 10 -o "lenet4_eps$eps.pt"
done
