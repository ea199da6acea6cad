"""Difference between bf16 and full-precision scores with the same draws, on the test images of MNIST, for VAEs 784-300-300-40.

Prints Markdown: ``python benchmarks/rounding.py > docs/benchmarks/rounding.md``. Needs PYRO_LVM_DATA or a network connection for the
data.
"""

from scores import make_vae
import torch

from inference import evaluate, fit, load_data
from inference.formatting import format_with_error
from inference.scoring.reduction import standard_error_of_mean

SOURCE = "mnist-static"
PRIORS = ("standard", "mixture", "vamp")
LATENTS, COMPONENTS = 40, 500
EPOCHS, BATCH_SIZE, SEED = 40, 250, 0
NUM_PARTICLES = 5000
NEAR = 0.01  # nats


def main() -> None:
    data = load_data(SOURCE)
    print("# The effect of bfloat16 on an estimate\n")
    print('Output of `python benchmarks/rounding.py`: `evaluate(..., precision="bf16")` minus `evaluate(...)` with the same draws, in nats')
    print(f"per image. VAEs 784-300-300-40 on {SOURCE}, {EPOCHS} epochs in batches of {BATCH_SIZE}, Adam at 1e-3, best validation epoch;")
    print(f"{COMPONENTS} components; seed {SEED}; {len(data.test)} test images, K = {NUM_PARTICLES}.")
    print("The last column is what `evaluate` itself reports, from some of the images.\n")
    print(f"| prior | log p(x) | mean difference | root mean square | largest | beyond {NEAR} | largest, as said |\n|---|{'---:|' * 6}")
    for prior in PRIORS:
        torch.manual_seed(SEED)
        vae = make_vae(prior, LATENTS, COMPONENTS)
        fit(vae, data.train, valid=data.valid, epochs=EPOCHS, batch_size=BATCH_SIZE, seed=SEED)
        full, rounded = (
            evaluate(vae, data.test, num_particles=NUM_PARTICLES, seed=SEED, precision=precision) for precision in ("full", "bf16")
        )
        difference = rounded.log_px - full.log_px
        row = (
            prior,
            format_with_error(full.mean, full.standard_error),
            format_with_error(float(difference.mean()), standard_error_of_mean(difference)),
            f"{float(difference.square().mean().sqrt()):.4f}",
            f"{float(difference.abs().max()):.4f}",
            int((difference.abs() > NEAR).sum()),
            f"{rounded.rounding_error:.4f}",
        )
        print(f"| {' | '.join(map(str, row))} |", flush=True)


if __name__ == "__main__":
    main()
