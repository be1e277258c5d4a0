"""The training loop, its devices, seeds, batches and checkpoints. It knows no method and no track by name."""
